//! Plots as SVG that can be read on a light and on a dark page.

use std::fmt::Write as _;

use crate::{
    engines::{LIMITS, OURS},
    report::{Row, shown},
};

const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .small { fill: #59636e; font-size: 11px }
.ours { fill: #1a7f37 } .limit { fill: #8c959f } .other { fill: #54aeff } .weak { fill: #d4a72c }
.grid { stroke: #d1d9e0 } .line { fill: none; stroke: #1a7f37; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 }
.ours { fill: #3fb950 } .limit { fill: #656c76 } .other { fill: #1f6feb } .weak { fill: #9e6a03 }
.grid { stroke: #3d444d } .line { stroke: #3fb950 }
}
</style>";
const WIDTH: f64 = 760.0;
const NAME: f64 = 250.0;
const BAR: f64 = 16.0;
const STEP: f64 = 21.0;
/// How many times longer than the best store's bar that of the limit may be.
const CUT: f64 = 1.5;

/// Horizontal bars, a panel for each row; the longest bar of a panel is its best engine. Where the
/// limit leaves all of them far behind, its bar is cut off and says so.
pub fn bars(rows: &[&Row]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for row in rows {
        let _ = writeln!(
            body,
            "<text class=\"title\" x=\"0\" y=\"{}\">{}</text>\
             <text class=\"small\" x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            y + 12.0,
            escaped(&row.title),
            y + 12.0,
            row.unit
        );
        y += 24.0;
        let mut engines: Vec<_> = row.names().iter().map(|name| (name, row.median(name))).collect();
        engines.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let stores = engines
            .iter()
            .filter(|(name, _)| !LIMITS.contains(&name.as_str()))
            .map(|(_, value)| *value);
        let largest = match stores.fold(0.0, f64::max) * CUT {
            0.0 => engines.iter().map(|(_, value)| *value).fold(0.0, f64::max),
            most => engines.iter().map(|(_, value)| value.min(most)).fold(0.0, f64::max),
        };
        for (name, value) in engines {
            let class = match name.as_str() {
                OURS => "ours",
                name if LIMITS.contains(&name) => "limit",
                name if name.contains("not durable") => "weak",
                _ => "other",
            };
            let length = (WIDTH - NAME - 140.0) * value.min(largest) / largest;
            let cut = if value > largest { ", cut off" } else { "" };
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{NAME}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" \
                 rx=\"2\"/><text class=\"small\" x=\"{:.1}\" y=\"{}\">{}{cut}</text>",
                NAME - 8.0,
                y + 12.0,
                escaped(name),
                length.max(1.0),
                NAME + length.max(1.0) + 6.0,
                y + 12.0,
                shown(value)
            );
            y += STEP;
        }
        y += 14.0;
    }
    svg(y, &body)
}

/// One line per row over the number of peers, which is what its engines are called here; both axes
/// in powers of ten.
pub fn lines(rows: &[&Row]) -> String {
    const HEIGHT: f64 = 110.0;
    let mut body = String::new();
    let mut y = 10.0;
    for row in rows {
        let points: Vec<(f64, f64)> = row
            .names()
            .iter()
            .filter_map(|name| Some((name.parse::<f64>().ok()?.log10(), row.median(name))))
            .collect();
        let logs = points.iter().map(|(_, value)| value.max(1e-9).log10());
        let low = logs.clone().fold(f64::INFINITY, f64::min).floor();
        let high = logs.fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
        let _ = writeln!(
            body,
            "<text class=\"title\" x=\"0\" y=\"{}\">{} ({})</text>",
            y + 12.0,
            escaped(&row.title),
            row.unit
        );
        y += 30.0;
        let place = |x: f64, value: f64| {
            let from_left = NAME + (x - 3.0) / 3.0 * (WIDTH - NAME - 60.0);
            let height = (value.max(1e-9).log10() - low) / (high - low);
            (from_left, y + HEIGHT * (1.0 - height))
        };
        let mut power = low;
        while power <= high {
            let (_, at) = place(3.0, 10_f64.powf(power));
            let _ = writeln!(
                body,
                "<line class=\"grid\" x1=\"{NAME}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                NAME - 8.0,
                at + 4.0,
                shown(10_f64.powf(power))
            );
            power += 1.0;
        }
        let mut path = String::new();
        for (x, value) in points {
            let (left, top) = place(x, value);
            let _ = write!(path, "{}{left:.1} {top:.1} ", if path.is_empty() { "M" } else { "L" });
            let _ = writeln!(
                body,
                "<circle class=\"ours\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"4\"/>\
                 <text class=\"small\" x=\"{left:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
                 <text class=\"small\" x=\"{left:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                top - 8.0,
                shown(value),
                y + HEIGHT + 16.0,
                shown(10_f64.powf(x))
            );
        }
        let _ = writeln!(body, "<path class=\"line\" d=\"{path}\"/>");
        y += HEIGHT + 36.0;
    }
    svg(y, &body)
}

fn svg(height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 0 {} {height}\" role=\"img\">\n\
         {STYLE}\n{body}</svg>\n",
        WIDTH + 16.0
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
