// Distributions of completion times to be looked for, each known exactly.
#ifndef DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_SHAPES_H_
#define DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_SHAPES_H_

#include <functional>
#include <random>
#include <string>
#include <vector>

namespace dreamgate::bench {

struct Shape {
  std::string name;
  std::string description;
  std::function<double(double age)> survival;  // age in seconds
  std::function<double(std::mt19937_64& engine)> draw;
};

std::vector<Shape> Shapes();

// The least that any schedule can reach, GETs times mean delay in seconds: half the square of the
// integral of sqrt(density x survival).
double Optimum(const Shape& shape);
// The same product of any fixed interval: half the mean.
double FixedProduct(const Shape& shape);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_SHAPES_H_
