//! A chart of what was measured, as SVG or PNG: a bar for each loader, as long as its time beyond the boot sector that ends
//! at once.
//!
//! It is a list of rectangles and texts first, which each format draws in its own way.

use super::report::{Group, Row, milliseconds};
use super::statistics::Spread;
use crate::checkout::Checkout;
use crate::image::write_atomically;
use anyhow::{Context, Result, bail};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};
use std::fmt::Write;
use std::path::{self, Path};
use std::time::Duration;

/// A file's format, by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Svg,
    Png,
}

impl Format {
    pub(super) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("found {}, expected a name that ends with .svg or .png", Checkout::display(path)),
        }
    }
}

/// Draws the chart into a file.
pub(super) fn write(path: &Path, groups: &[Group]) -> Result<()> {
    let chart = Chart::of(groups);
    let bytes = match Format::of(path)? {
        Format::Svg => chart.to_svg().into_bytes(),
        Format::Png => chart.to_png()?,
    };
    write_atomically(&path::absolute(path)?, &bytes)
}

/// All numbers are pixels, from the upper left corner.
struct Chart {
    height: u32,
    shapes: Vec<Shape>,
}

enum Shape {
    Rectangle {
        x: u32,
        y: u32,
        width: u32,
        height: u32,
        color: Color,
    },
    /// From its left end, with the middle of the line at `y`.
    Text {
        x: u32,
        y: u32,
        text: String,
    },
}

/// Red, green and blue.
type Color = [u8; 3];

const BACKGROUND: Color = [0xff, 0xff, 0xff];
const INK: Color = [0x1f, 0x29, 0x33];
const BARE_READS: Color = [0x9a, 0xa5, 0xb1];
const DOORSTEP: Color = [0xc2, 0x4d, 0x2c];
const OTHERS: Color = [0x48, 0x7d, 0xa8];

const WIDTH: u32 = 960;
const MARGIN: u32 = 16;
const LINE_HEIGHT: u32 = 24;
const BAR_HEIGHT: u32 = 16;
const BARS_X: u32 = 200;
const BARS_WIDTH: u32 = 560;

const CAPTION: &str =
    "time beyond a boot sector that ends at once (each group on its own scale), x the bare reads";

impl Chart {
    fn of(groups: &[Group]) -> Self {
        let mut chart = Self { height: MARGIN, shapes: Vec::new() };
        chart.line(|_| Vec::new(), CAPTION.to_owned());
        for group in groups {
            chart.height += LINE_HEIGHT / 2;
            chart.line(|_| Vec::new(), group.name.clone());
            // Behind the boot sector that all are counted from.
            let rows = group.rows.get(1..).unwrap_or_default();
            let longest = rows.iter().map(end).max().unwrap_or_default();
            for (index, row) in rows.iter().enumerate() {
                let color = match index {
                    0 => BARE_READS,
                    1 => DOORSTEP,
                    _ => OTHERS,
                };
                chart.line(|y| bar(row, longest, color, y), format!("  {}", row.loader));
            }
        }
        chart.height += MARGIN;
        chart
    }

    /// Adds a line with a text at its left and, given the line's middle, more shapes.
    fn line(&mut self, shapes: impl FnOnce(u32) -> Vec<Shape>, text: String) {
        let y = self.height + LINE_HEIGHT / 2;
        self.shapes.push(Shape::Text { x: MARGIN, y, text });
        self.shapes.extend(shapes(y));
        self.height += LINE_HEIGHT;
    }

    fn to_svg(&self) -> String {
        let mut svg = String::new();
        let mut put = |text: std::fmt::Arguments<'_>| {
            // Strings never fail.
            let _ = svg.write_fmt(text);
        };
        let height = self.height;
        put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"monospace\" font-size=\"14\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"{}\"/>\n",
            hexadecimal(BACKGROUND)
        ));
        for shape in &self.shapes {
            match shape {
                Shape::Rectangle { x, y, width, height, color } => put(format_args!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
                    hexadecimal(*color)
                )),
                Shape::Text { x, y, text } => put(format_args!(
                    "<text x=\"{x}\" y=\"{y}\" dominant-baseline=\"central\" xml:space=\"preserve\" \
                     fill=\"{}\">{}</text>\n",
                    hexadecimal(INK),
                    escaped(text)
                )),
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn to_png(&self) -> Result<Vec<u8>> {
        let mut picture = Picture::new(WIDTH, self.height)?;
        for shape in &self.shapes {
            match shape {
                Shape::Rectangle { x, y, width, height, color } => {
                    for (y, x) in (*y..y + height).flat_map(|y| (*x..x + width).map(move |x| (y, x))) {
                        picture.mix(x, y, *color, 0xff);
                    }
                }
                Shape::Text { x, y, text } => picture.write(*x, *y, text),
            }
        }
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, WIDTH, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(picture.pixels.as_flattened())?;
        Ok(file)
    }
}

/// The longest time of a row that is drawn.
fn end(row: &Row) -> Duration {
    row.beyond + (row.time.upper_quartile - row.time.median)
}

/// A bar up to the median, a line from quartile to quartile, and what it was.
fn bar(row: &Row, longest: Duration, color: Color, y: u32) -> Vec<Shape> {
    let pixels = |time: Duration| {
        let share = time.as_nanos() * u128::from(BARS_WIDTH) / longest.as_nanos().max(1);
        u32::try_from(share).map_or(BARS_WIDTH, |pixels| pixels.min(BARS_WIDTH))
    };
    let Spread { lower_quartile, median, .. } = row.time;
    let quartiles = [row.beyond.saturating_sub(median - lower_quartile), end(row)].map(pixels);
    let to_reads = row.to_reads.map_or(String::new(), |ratio| format!("  {ratio:.2}x"));
    let at = |x, width, height, color| Shape::Rectangle { x, y: y - height / 2, width, height, color };
    vec![
        at(BARS_X, pixels(row.beyond).max(1), BAR_HEIGHT, color),
        at(BARS_X + quartiles[0], (quartiles[1] - quartiles[0]).max(1), 2, INK),
        Shape::Text {
            x: BARS_X + quartiles[1] + MARGIN / 2,
            y,
            text: format!("{}{to_reads}", milliseconds(row.beyond)),
        },
    ]
}

fn hexadecimal([red, green, blue]: Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Pixels, row by row.
struct Picture {
    width: usize,
    pixels: Vec<Color>,
}

impl Picture {
    fn new(width: u32, height: u32) -> Result<Self> {
        let [width, height] = [width, height].map(usize::try_from);
        let (width, height) = (width?, height?);
        let len = width.checked_mul(height).context("a chart too large")?;
        Ok(Self { width, pixels: vec![BACKGROUND; len] })
    }

    /// Lets a colour cover a pixel, up to 255 wholly. What lies outside is not drawn.
    fn mix(&mut self, x: u32, y: u32, color: Color, cover: u8) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let Some(pixel) = self.pixels.get_mut(y * self.width + x).filter(|_| x < self.width) else { return };
        for (below, above) in pixel.iter_mut().zip(color) {
            let mixed = u16::from(*below) * u16::from(0xff - cover) + u16::from(above) * u16::from(cover);
            *below = u8::try_from(mixed / 0xff).unwrap_or(u8::MAX);
        }
    }

    fn write(&mut self, x: u32, y: u32, text: &str) {
        const HEIGHT: RasterHeight = RasterHeight::Size16;
        let [width, half] = [get_raster_width(FontWeight::Regular, HEIGHT), HEIGHT.val() / 2];
        let raster = |character| get_raster(character, FontWeight::Regular, HEIGHT);
        let places = (0..).map(|index: u32| x + index * u32::try_from(width).unwrap_or(0));
        for (character, x) in text.chars().zip(places) {
            let Some(raster) = raster(character).or_else(|| raster('?')) else { continue };
            let top = y.saturating_sub(u32::try_from(half).unwrap_or(0));
            self.put(x, top, &raster);
        }
    }

    fn put(&mut self, x: u32, y: u32, character: &RasterizedChar) {
        for (y, line) in (y..).zip(character.rows()) {
            for (x, cover) in (x..).zip(line.iter()) {
                self.mix(x, y, INK, *cover);
            }
        }
    }
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
    fn bars(chart: &Chart) -> Vec<(u32, Color)> {
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
        assert_eq!(bars(&Chart::of(&groups())), expected);
    }

    #[test]
    fn a_group_in_which_nothing_took_time_is_drawn() {
        let chart = Chart::of(&[group("none", &[("a", 100), ("b", 100), ("c", 90)])]);
        assert_eq!(bars(&chart), [(1, BARE_READS), (1, DOORSTEP)]);
    }

    #[test]
    fn the_svg_names_every_loader_and_its_time() {
        let svg = Chart::of(&groups()).to_svg();
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        for text in ["64 KiB, IDE<", "  bare reads<", "100.0 ms  2.00x<", "&lt;other&gt; &amp; more<"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert_eq!(svg.matches("<rect ").count(), 1 + 2 * 5, "background, and bar and spread of each");
    }

    #[test]
    fn the_png_shows_the_same_bars() {
        let chart = Chart::of(&groups());
        let file = chart.to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (WIDTH, chart.height));
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        let (pixels, _) = bytes.as_chunks::<3>();
        let count = |color: Color| pixels.iter().filter(|pixel| **pixel == color).count();
        let bar = |width: u32| usize::try_from(width * BAR_HEIGHT).unwrap();
        assert_eq!(count(BARE_READS), bar(BARS_WIDTH / 4 + BARS_WIDTH / 2));
        assert_eq!(count(DOORSTEP), bar(BARS_WIDTH / 2 + BARS_WIDTH));
        assert_eq!(count(OTHERS), bar(BARS_WIDTH));
        assert!(count(INK) > 100, "text");
    }

    #[test]
    fn the_suffix_says_the_format() {
        assert_eq!(Format::of(Path::new("a/b.svg")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.png")).unwrap(), Format::Png);
        let error = Format::of(Path::new("a/b.jpg")).unwrap_err().to_string();
        assert!(error.contains("a/b.jpg, expected a name that ends with .svg or .png"), "{error}");
    }
}
