#include "tests/bench/poll_tradeoff/picture.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace dreamgate::bench {
namespace {

// Pixels.
constexpr double kPanelWidth = 270;
constexpr double kPanelHeight = 230;
constexpr double kGap = 20;
constexpr double kLeft = 62;
constexpr double kTop = 76;
constexpr double kBetweenRows = 44;
constexpr double kBottom = 50;
constexpr double kLegendItem = 145;

constexpr char kInk[] = "#7d8590";  // in between, for text and frames on white and on black
constexpr char kGrid[] = "#7d859040";

// 1, 2 and 5 times the powers of ten within the range.
std::vector<double> Ticks(double low, double high) {
  std::vector<double> ticks;
  for (double power = 1e-3; power < 1e6; power *= 10) {
    for (const double step : {1, 2, 5}) {
      const double tick = power * step;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push_back(tick);
    }
  }
  return ticks;
}

struct Axes {
  double left, top;  // of the panel
  double x_low, x_high, y_low, y_high;

  double X(double x) const {
    return left + kPanelWidth * std::log(x / x_low) / std::log(x_high / x_low);
  }
  double Y(double y) const {
    return top + kPanelHeight * (1 - std::log(y / y_low) / std::log(y_high / y_low));
  }
};

std::string Text(double x, double y, const std::string& anchor, const std::string& text,
                 const std::string& more = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y,
                         anchor, more, text);
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& colour,
                 double width) {
  return absl::StrFormat(
      "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
      "stroke-width=\"%.1f\"/>\n",
      x1, y1, x2, y2, colour, width);
}

std::string Dot(double x, double y, const std::string& colour) {
  return absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>\n", x, y, colour);
}

std::string Stroke(const Style& style) {
  std::string stroke = absl::StrFormat("fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\"",
                                       style.colour, style.width);
  if (!style.dashes.empty()) absl::StrAppend(&stroke, " stroke-dasharray=\"", style.dashes, "\"");
  return stroke;
}

std::string Legend(const Picture& picture) {
  std::string svg;
  double x = kLeft;
  for (const Style& style : picture.styles) {
    svg += absl::StrFormat("<path d=\"M%.1f 44h24\" %s/>\n", x, Stroke(style));
    if (style.marks) svg += Dot(x + 12, 44, style.colour);
    svg += Text(x + 29, 48, "start", style.name);
    x += kLegendItem;
  }
  return svg;
}

std::string Frame(const Axes& axes, bool first_of_row, bool last_row, const Picture& picture,
                  const Panel& panel) {
  std::string svg;
  for (const double tick : Ticks(axes.x_low, axes.x_high)) {
    const double x = axes.X(tick);
    svg += Line(x, axes.top, x, axes.top + kPanelHeight, kGrid, 0.7);
    if (last_row) {
      svg += Text(x, axes.top + kPanelHeight + 15, "middle", absl::StrFormat("%g", tick));
    }
  }
  for (const double tick : Ticks(axes.y_low, axes.y_high)) {
    const double y = axes.Y(tick);
    svg += Line(axes.left, y, axes.left + kPanelWidth, y, kGrid, 0.7);
    if (first_of_row) svg += Text(axes.left - 6, y + 4, "end", absl::StrFormat("%g", tick));
  }
  svg += absl::StrFormat(
      "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"%s\"/>\n",
      axes.left, axes.top, kPanelWidth, kPanelHeight, kInk);
  svg += Text(axes.left + kPanelWidth / 2, axes.top - 7, "middle", panel.title);
  if (last_row) {
    svg +=
        Text(axes.left + kPanelWidth / 2, axes.top + kPanelHeight + 33, "middle", picture.x_label);
  }
  if (first_of_row) {
    const double y = axes.top + kPanelHeight / 2;
    svg += Text(16, y, "middle", panel.y_label,
                absl::StrFormat(" transform=\"rotate(-90 16 %.1f)\"", y));
  }
  return svg;
}

std::string Drawn(const Curve& curve, const Style& style, const Axes& axes) {
  std::string path;
  std::string marks;
  for (const Point& point : curve.points) {
    const double x = axes.X(point.x);
    const double y = axes.Y(point.y);
    absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : "L", x, y);
    if (point.high > point.low) {
      marks += Line(x, axes.Y(point.low), x, axes.Y(point.high), style.colour, 1);
    }
    if (style.marks) marks += Dot(x, y, style.colour);
  }
  return absl::StrCat("<path d=\"", path, "\" ", Stroke(style), "/>\n", marks);
}

}  // namespace

std::string Svg(const Picture& picture) {
  size_t columns = 0;
  for (const Picture::Row& row : picture.rows) columns = std::max(columns, row.panels.size());
  const auto rows = static_cast<double>(picture.rows.size());
  const double width = kLeft + static_cast<double>(columns) * (kPanelWidth + kGap);
  const double height = kTop + rows * kPanelHeight + (rows - 1) * kBetweenRows + kBottom;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\" fill=\"%s\">\n",
      width, height, width, height, kInk);
  svg += absl::StrCat("<title>", picture.title, "</title>\n");
  svg += Text(kLeft, 20, "start", picture.title, " font-size=\"14\" font-weight=\"bold\"");
  svg += Legend(picture);
  int clip = 0;
  for (size_t r = 0; r < picture.rows.size(); ++r) {
    const Picture::Row& row = picture.rows[r];
    for (size_t c = 0; c < row.panels.size(); ++c) {
      const Axes axes = {kLeft + static_cast<double>(c) * (kPanelWidth + kGap),
                         kTop + static_cast<double>(r) * (kPanelHeight + kBetweenRows),
                         picture.x_low,
                         picture.x_high,
                         row.y_low,
                         row.y_high};
      svg += Frame(axes, c == 0, r + 1 == picture.rows.size(), picture, row.panels[c]);
      svg += absl::StrFormat(
          "<clipPath id=\"p%d\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>"
          "</clipPath>\n<g clip-path=\"url(#p%d)\">\n",
          clip, axes.left, axes.top, kPanelWidth, kPanelHeight, clip);
      for (const Curve& curve : row.panels[c].curves) {
        svg += Drawn(curve, picture.styles[curve.style], axes);
      }
      svg += "</g>\n";
      ++clip;
    }
  }
  return svg + "</svg>\n";
}

}  // namespace dreamgate::bench
