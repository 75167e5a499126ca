//! A chart of what was measured: a bar for each loader, as long as its time beyond the boot sector that ends at once.

use super::report::{Group, Row, milliseconds};
use super::statistics::Spread;
use crate::drawing::{BLUE, Color, DOORSTEP, Drawing, End, GREY, INK, Shape};
use std::time::Duration;

const BARE_READS: Color = GREY;
const OTHERS: Color = BLUE;

const WIDTH: u32 = 960;
const MARGIN: u32 = 16;
const LINE_HEIGHT: u32 = 24;
const BAR_HEIGHT: u32 = 16;
const BARS_X: u32 = 200;
const BARS_WIDTH: u32 = 560;

const CAPTION: &str =
    "time beyond a boot sector that ends at once (each group on its own scale), x the bare reads";

/// The chart of all groups.
pub(super) fn of(groups: &[Group]) -> Drawing {
    let mut chart = Drawing { width: WIDTH, height: MARGIN, shapes: Vec::new() };
    line(&mut chart, |_| Vec::new(), CAPTION.to_owned());
    for group in groups {
        chart.height += LINE_HEIGHT / 2;
        line(&mut chart, |_| Vec::new(), group.name.clone());
        // Behind the boot sector that all are counted from.
        let rows = group.rows.get(1..).unwrap_or_default();
        let longest = rows.iter().map(|row| row.beyond.upper_quartile).max().unwrap_or_default();
        for (index, row) in rows.iter().enumerate() {
            let color = match index {
                0 => BARE_READS,
                1 => DOORSTEP,
                _ => OTHERS,
            };
            line(&mut chart, |y| bar(row, longest, color, y), format!("  {}", row.loader));
        }
    }
    chart.height += MARGIN;
    chart
}

/// Adds a line with a text at its left and, given the line's middle, more shapes.
fn line(chart: &mut Drawing, shapes: impl FnOnce(u32) -> Vec<Shape>, text: String) {
    let y = chart.height + LINE_HEIGHT / 2;
    chart.shapes.push(Shape::Text { x: MARGIN, y, end: End::Left, text });
    chart.shapes.extend(shapes(y));
    chart.height += LINE_HEIGHT;
}

/// A bar up to the median, a line from quartile to quartile, and what it was.
fn bar(row: &Row, longest: Duration, color: Color, y: u32) -> Vec<Shape> {
    let pixels = |time: Duration| {
        let share = time.as_nanos() * u128::from(BARS_WIDTH) / longest.as_nanos().max(1);
        u32::try_from(share).map_or(BARS_WIDTH, |pixels| pixels.min(BARS_WIDTH))
    };
    let Spread { lower_quartile, median, upper_quartile } = row.beyond;
    let quartiles = [lower_quartile, upper_quartile].map(pixels);
    let to_reads = row.to_reads.map_or(String::new(), |ratio| format!("  {ratio:.2}x"));
    let at = |x, width, height, color| Shape::Rectangle { x, y: y - height / 2, width, height, color };
    vec![
        at(BARS_X, pixels(median).max(1), BAR_HEIGHT, color),
        at(BARS_X + quartiles[0], (quartiles[1] - quartiles[0]).max(1), 2, INK),
        Shape::Text {
            x: BARS_X + quartiles[1] + MARGIN / 2,
            y,
            end: End::Left,
            text: format!("{}{to_reads}", milliseconds(median)),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::group;
    use super::*;

    fn groups() -> Vec<Group> {
        let boots = [("ends at once", 100), ("bare reads", 150), ("Doorstep", 200), ("<other> & more", 300)];
        vec![group("64 KiB, IDE", &boots), group("1 MiB, IDE", &boots[..3])]
    }

    /// Width and colour of all bars.
    fn bars(chart: &Drawing) -> Vec<(u32, Color)> {
        let bars = chart.shapes.iter().filter_map(|shape| match shape {
            Shape::Rectangle { width, height: BAR_HEIGHT, color, .. } => Some((*width, *color)),
            _ => None,
        });
        bars.collect()
    }

    #[test]
    fn bars_are_as_long_as_their_times_in_their_group() {
        let expected = [
            (BARS_WIDTH / 4, BARE_READS),
            (BARS_WIDTH / 2, DOORSTEP),
            (BARS_WIDTH, OTHERS),
            (BARS_WIDTH / 2, BARE_READS),
            (BARS_WIDTH, DOORSTEP),
        ];
        assert_eq!(bars(&of(&groups())), expected);
    }

    #[test]
    fn a_group_in_which_nothing_took_time_is_drawn() {
        let chart = of(&[group("none", &[("a", 100), ("b", 100), ("c", 90)])]);
        assert_eq!(bars(&chart), [(1, BARE_READS), (1, DOORSTEP)]);
    }

    #[test]
    fn the_svg_names_every_loader_and_its_time() {
        let svg = of(&groups()).to_svg();
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        for text in ["64 KiB, IDE<", "  bare reads<", "100.0 ms  2.00x<", "&lt;other&gt; &amp; more<"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert_eq!(svg.matches("<rect ").count(), 1 + 2 * 5, "background, and bar and spread of each");
    }
}
