//! The timeline as a drawing, in the manner of `systemd-analyze plot`: bars that step down along an axis of time.

use super::bars::kernel_note;
use super::phases::{Phase, Stage, Timeline};
use crate::bench::milliseconds;
use crate::drawing::{BLUE, CHARACTER_WIDTH, Color, DOORSTEP, Drawing, End, GREY, Shape, text_width};
use std::time::Duration;

const STAGE1: Color = Color { name: "stage1", light: [0xe0, 0xa0, 0x3c], dark: [0xd9, 0xa4, 0x4e] };
const GRID: Color = Color { name: "grid", light: [0xe1, 0xe5, 0xe9], dark: [0x30, 0x38, 0x41] };

const WIDTH: u32 = 1120;
const MARGIN: u32 = 20;
const LINE_HEIGHT: u32 = 24;
const BAR_HEIGHT: u32 = 16;
const GAP: u32 = 8;
/// How wide the axis is; the last label on it reaches beyond.
const AXIS_WIDTH: u32 = WIDTH - 2 * MARGIN - 4 * CHARACTER_WIDTH;
/// At most so many steps are on it.
const STEPS_MAX: u128 = 12;

/// What was booted is the title.
pub(super) fn of(timeline: &Timeline, title: &str) -> Drawing {
    let mut shapes = Vec::new();
    let mut y = MARGIN + LINE_HEIGHT / 2;
    let mut put = |shapes: &mut Vec<Shape>, text| {
        shapes.push(Shape::Text { x: MARGIN, y, end: End::Left, text });
        y += LINE_HEIGHT;
    };
    put(&mut shapes, format!("{title}: {} from power-on", milliseconds(timeline.total())));
    put(&mut shapes, stages(timeline));
    let top = y + LINE_HEIGHT / 2;
    let bars_y = top + LINE_HEIGHT;
    let rows = u32::try_from(timeline.phases.len()).unwrap_or(u32::MAX);
    let bottom = bars_y + rows * LINE_HEIGHT;

    shapes.extend(axis(timeline.total(), top, bottom));
    for (row, phase) in (0..).zip(&timeline.phases) {
        shapes.extend(bar(phase, timeline.total(), bars_y + row * LINE_HEIGHT + LINE_HEIGHT / 2));
    }
    let notes =
        [format!("the median of each phase; boots: {}", timeline.runs), kernel_note(timeline.kernel_end)];
    let mut y = bottom + LINE_HEIGHT;
    for text in notes {
        shapes.push(Shape::Text { x: MARGIN, y, end: End::Left, text });
        y += LINE_HEIGHT;
    }
    Drawing { width: WIDTH, height: y + MARGIN - LINE_HEIGHT / 2, shapes }
}

/// What each stage takes.
fn stages(timeline: &Timeline) -> String {
    let stage = |stage: Stage| Some(format!("{} {}", stage.name(), milliseconds(timeline.of_stage(stage)?)));
    Stage::ALL.into_iter().filter_map(stage).collect::<Vec<_>>().join(" + ")
}

fn pixels(time: Duration, total: Duration) -> u32 {
    let share = time.as_nanos() * u128::from(AXIS_WIDTH) / total.as_nanos().max(1);
    u32::try_from(share).map_or(AXIS_WIDTH, |pixels| pixels.min(AXIS_WIDTH))
}

/// A line down for each step, with its time above.
fn axis(total: Duration, top: u32, bottom: u32) -> Vec<Shape> {
    let step = step(total);
    let mut shapes = Vec::new();
    let mut at = Duration::ZERO;
    while at <= total {
        let x = MARGIN + pixels(at, total);
        let line_y = top + LINE_HEIGHT / 2;
        shapes.push(Shape::Rectangle { x, y: line_y, width: 1, height: bottom - line_y, color: GRID });
        let text = if step >= Duration::from_millis(1) {
            format!("{} ms", at.as_millis())
        } else {
            format!("{:.2} ms", at.as_secs_f64() * 1000.0)
        };
        shapes.push(Shape::Text { x, y: top, end: End::Left, text });
        at += step;
    }
    shapes
}

/// One, two or five of a power of ten, so that there are not too many of them.
fn step(total: Duration) -> Duration {
    const FINEST: Duration = Duration::from_micros(10);
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|times| FINEST * times * 10_u32.saturating_pow(power)));
    let fits = |step: &Duration| total.as_nanos() / step.as_nanos() < STEPS_MAX;
    steps.take(24).find(fits).unwrap_or(total.max(FINEST))
}

/// A bar, and beside it what it is: to the right where there is room, or else to the left.
fn bar(phase: &Phase, total: Duration, y: u32) -> [Shape; 2] {
    let color = match phase.stage {
        Stage::Bios => GREY,
        Stage::Stage1 => STAGE1,
        Stage::Stage2 => DOORSTEP,
        Stage::Kernel => BLUE,
    };
    let [start, bar_end] = [phase.start, phase.end()].map(|time| MARGIN + pixels(time, total));
    let text = format!("{} ({})", phase.name(), milliseconds(phase.time.median));
    let right = bar_end.max(start + 1) + GAP;
    let (x, end) = if right + text_width(&text) <= WIDTH - MARGIN {
        (right, End::Left)
    } else {
        (start.saturating_sub(GAP), End::Right)
    };
    let width = (bar_end - start).max(1);
    [
        Shape::Rectangle { x: start, y: y - BAR_HEIGHT / 2, width, height: BAR_HEIGHT, color },
        Shape::Text { x, y, end, text },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::phases::tests::timeline;
    use super::*;

    #[test]
    fn bars_step_down_along_the_axis() {
        let drawing = of(&timeline(), "kernel.elf");
        let bars: Vec<_> = drawing
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Rectangle { x, y, width, height: BAR_HEIGHT, color } => {
                    Some((*x, *y, *width, color.name))
                }
                _ => None,
            })
            .collect();
        assert_eq!(bars.len(), 8);
        assert_eq!((bars[0].0, bars[0].2, bars[0].3), (MARGIN, AXIS_WIDTH / 2, "grey"));
        assert_eq!(bars[7].0 + bars[7].2, MARGIN + AXIS_WIDTH, "the last one ends where the axis does");
        assert!(bars.is_sorted_by(|one, other| one.1 < other.1 && one.0 + one.2 <= other.0 + 1), "{bars:?}");
    }

    #[test]
    fn nothing_is_outside() {
        let drawing = of(&timeline(), "kernel.elf");
        for shape in &drawing.shapes {
            let (left, right, y) = match shape {
                Shape::Rectangle { x, y, width, .. } => (*x, x + width, *y),
                Shape::Text { x, y, end: End::Left, text } => (*x, x + text_width(text), *y),
                Shape::Text { x, y, end: End::Right, text } => (x.saturating_sub(text_width(text)), *x, *y),
            };
            assert!(left >= MARGIN && right <= WIDTH && y < drawing.height, "{left}..{right} at {y}");
        }
    }

    #[test]
    fn the_axis_has_round_steps() {
        for (total, expected) in [(200, 20), (11, 1), (12, 2), (2_000, 200), (90_000, 10_000)] {
            assert_eq!(step(Duration::from_millis(total)), Duration::from_millis(expected), "{total} ms");
        }
        assert!(!step(Duration::ZERO).is_zero());
    }

    #[test]
    fn the_svg_is_xml_with_every_phase_in_it() {
        let svg = of(&timeline(), "<a> & b").to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
        for expected in [
            "<a> & b: 200.0 ms from power-on",
            "BIOS 100.0 ms + stage1 5.0 ms + stage2 55.0 ms + kernel 40.0 ms",
            "stage2: load kernel (40.0 ms)",
            "kernel: to its last word on the serial line",
            "180 ms",
        ] {
            assert!(texts.contains(&expected), "no {expected:?} in {svg}");
        }
    }
}
