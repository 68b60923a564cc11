#include "tests/bench/poll_tradeoff/shapes.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dreamgate::bench {
namespace {

constexpr double kStep = 0.02;  // seconds, of the integrals
constexpr double kEnd = 4000;   // seconds, past all shapes

double NormalTail(double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); }

double LogNormalTail(double age, double median, double sigma) {
  return age <= 0 ? 1 : NormalTail(std::log(age / median) / sigma);
}

double DrawLogNormal(double median, double sigma, std::mt19937_64& engine) {
  return median * std::exp(std::normal_distribution<double>(0, sigma)(engine));
}

// Of a measured sample of eight jobs only this is known: 83 to 253 s, median 105 s, and that smoothed
// with a bandwidth of 8 s its optimum is 23.5 s and a fixed interval's product 63.4 s. These eight have
// all of that.
const std::vector<double>& Sample() {
  static const std::vector<double> jobs = {83, 92, 98, 102, 108, 120, 158, 253};
  return jobs;
}
constexpr double kBandwidth = 8;

}  // namespace

std::vector<Shape> Shapes() {
  return {
      {"sample", "eight jobs, 83 to 253 s, median 105 s, smoothed by 8 s",
       [](double age) {
         double sum = 0;
         for (const double job : Sample()) sum += NormalTail((age - job) / kBandwidth);
         return sum / static_cast<double>(Sample().size());
       },
       [](std::mt19937_64& engine) {
         const double job = Sample()[engine() % Sample().size()];
         return std::max(0.1, job + std::normal_distribution<double>(0, kBandwidth)(engine));
       }},
      {"log-normal", "median 105 s, sigma 0.4",
       [](double age) { return LogNormalTail(age, 105, 0.4); },
       [](std::mt19937_64& engine) { return DrawLogNormal(105, 0.4, engine); }},
      {"two humps", "35 % cache hits about 6 s, 65 % about 150 s",
       [](double age) {
         return 0.35 * LogNormalTail(age, 6, 0.35) + 0.65 * LogNormalTail(age, 150, 0.3);
       },
       [](std::mt19937_64& engine) {
         const bool hit = engine() % 100 < 35;
         return hit ? DrawLogNormal(6, 0.35, engine) : DrawLogNormal(150, 0.3, engine);
       }},
  };
}

double Optimum(const Shape& shape) {
  double integral = 0;
  double before = 1;
  for (double age = 0; age < kEnd; age += kStep) {
    const double after = shape.survival(age + kStep);
    const double density = std::max(0.0, before - after) / kStep;
    integral += std::sqrt(density * (before + after) / 2) * kStep;
    before = after;
  }
  return integral * integral / 2;
}

double FixedProduct(const Shape& shape) {
  double mean = 0;
  for (double age = 0; age < kEnd; age += kStep) mean += shape.survival(age + kStep / 2) * kStep;
  return mean / 2;
}

}  // namespace dreamgate::bench
