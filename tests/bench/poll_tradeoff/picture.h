// A picture of curves in panels as SVG text: logarithmic axes, grey on nothing, so that it reads on
// light and dark pages alike.
#ifndef DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_PICTURE_H_
#define DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_PICTURE_H_

#include <string>
#include <vector>

namespace dreamgate::bench {

struct Style {
  std::string name;  // in the legend
  std::string colour;
  std::string dashes;  // SVG's stroke-dasharray; empty: drawn through
  double width = 1.5;
  bool marks = true;  // a dot at every point
};

struct Point {
  double x = 0;
  double y = 0;
  double low = 0;  // of y, over the rounds; equal to `high` for none
  double high = 0;
};

struct Curve {
  size_t style = 0;  // index into the picture's styles
  std::vector<Point> points;
};

struct Panel {
  std::string title;
  std::string y_label;
  std::vector<Curve> curves;
};

struct Picture {
  std::string title;
  std::string x_label;
  double x_low, x_high;
  std::vector<Style> styles;
  // Rows of panels; all of a row share the range of y.
  struct Row {
    double y_low, y_high;
    std::vector<Panel> panels;
  };
  std::vector<Row> rows;
};

std::string Svg(const Picture& picture);

}  // namespace dreamgate::bench

#endif  // DREAMGATE_TESTS_BENCH_POLL_TRADEOFF_PICTURE_H_
