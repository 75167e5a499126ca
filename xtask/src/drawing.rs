//! Drawings of bars and texts, as SVG or PNG: what `cargo xtask bench` and `cargo xtask timeline` show.
//!
//! A drawing is a list of rectangles and texts first, which each format draws in its own way. An SVG follows its reader's
//! wish for light or dark; a PNG is light.

use crate::checkout::Checkout;
use crate::image::write_atomically;
use anyhow::{Context, Result, bail};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{self, Path};

/// A file's format, by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Svg,
    Png,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => bail!("found {}, expected a name that ends with .svg or .png", Checkout::display(path)),
        }
    }
}

/// All numbers are pixels, from the upper left corner.
pub(crate) struct Drawing {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Later ones cover earlier ones.
    pub(crate) shapes: Vec<Shape>,
}

pub(crate) enum Shape {
    Rectangle {
        x: u32,
        y: u32,
        width: u32,
        height: u32,
        color: Color,
    },
    /// With one of its ends at `x`, and the middle of the line at `y`.
    Text {
        x: u32,
        y: u32,
        end: End,
        text: String,
    },
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Right,
}

/// A colour, as it is before a light and before a dark background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color {
    /// What SVG calls it.
    pub(crate) name: &'static str,
    pub(crate) light: Pixel,
    pub(crate) dark: Pixel,
}

/// Red, green and blue.
type Pixel = [u8; 3];

const BACKGROUND: Color = Color { name: "background", light: [0xff, 0xff, 0xff], dark: [0x16, 0x1b, 0x22] };
pub(crate) const INK: Color = Color { name: "ink", light: [0x1f, 0x29, 0x33], dark: [0xd6, 0xdd, 0xe4] };
pub(crate) const GREY: Color = Color { name: "grey", light: [0x9a, 0xa5, 0xb1], dark: [0x7b, 0x87, 0x94] };
pub(crate) const BLUE: Color = Color { name: "blue", light: [0x48, 0x7d, 0xa8], dark: [0x5b, 0x93, 0xc2] };
/// What Doorstep is shown in.
pub(crate) const DOORSTEP: Color =
    Color { name: "doorstep", light: [0xc2, 0x4d, 0x2c], dark: [0xe0, 0x71, 0x4f] };

/// How wide a character is, in both formats.
pub(crate) const CHARACTER_WIDTH: u32 = 7;

const TEXT_HEIGHT: RasterHeight = RasterHeight::Size16;

const _: () = assert!(CHARACTER_WIDTH as usize == get_raster_width(FontWeight::Regular, TEXT_HEIGHT));

impl Drawing {
    /// Draws into a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let bytes = match Format::of(path)? {
            Format::Svg => self.to_svg().into_bytes(),
            Format::Png => self.to_png()?,
        };
        write_atomically(&path::absolute(path)?, &bytes)
    }

    pub(crate) fn to_svg(&self) -> String {
        let Self { width, height, shapes } = self;
        let mut svg = String::new();
        let mut put = |text: std::fmt::Arguments<'_>| {
            // Strings never fail.
            let _ = svg.write_fmt(text);
        };
        // Monospaced characters are 0.6 of their size wide in the usual fonts.
        let font_size = f64::from(CHARACTER_WIDTH) / 0.6;
        put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"{font_size:.1}\">\n{}\
             <rect class=\"background\" width=\"{width}\" height=\"{height}\"/>\n",
            self.style()
        ));
        for shape in shapes {
            match shape {
                Shape::Rectangle { x, y, width, height, color } => put(format_args!(
                    "<rect class=\"{}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>\n",
                    color.name
                )),
                Shape::Text { x, y, end, text } => put(format_args!(
                    "<text class=\"ink\" x=\"{x}\" y=\"{y}\"{} dominant-baseline=\"central\" \
                     xml:space=\"preserve\">{}</text>\n",
                    if *end == End::Right { " text-anchor=\"end\"" } else { "" },
                    escaped(text)
                )),
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The colours, twice.
    fn style(&self) -> String {
        let colors = self.shapes.iter().filter_map(|shape| match shape {
            Shape::Rectangle { color, .. } => Some(*color),
            Shape::Text { .. } => None,
        });
        let colors = [BACKGROUND, INK].into_iter().chain(colors);
        let colors: BTreeMap<_, _> = colors.map(|color| (color.name, color)).collect();
        let rules = |pixel: fn(&Color) -> Pixel| {
            let rule = |color: Color| format!(".{} {{ fill: {} }}\n", color.name, hexadecimal(pixel(&color)));
            colors.values().map(|color| rule(*color)).collect::<String>()
        };
        let [light, dark] = [rules(|color| color.light), rules(|color| color.dark)];
        format!("<style>\n{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n</style>\n")
    }

    pub(crate) fn to_png(&self) -> Result<Vec<u8>> {
        let mut picture = Picture::new(self.width, self.height)?;
        for shape in &self.shapes {
            match shape {
                Shape::Rectangle { x, y, width, height, color } => {
                    for (y, x) in (*y..y + height).flat_map(|y| (*x..x + width).map(move |x| (y, x))) {
                        picture.mix(x, y, color.light, 0xff);
                    }
                }
                Shape::Text { x, y, end, text } => {
                    let left = if *end == End::Right { x.saturating_sub(text_width(text)) } else { *x };
                    picture.write(left, *y, text);
                }
            }
        }
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(picture.pixels.as_flattened())?;
        Ok(file)
    }
}

/// How wide a text is.
pub(crate) fn text_width(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX).saturating_mul(CHARACTER_WIDTH)
}

fn hexadecimal([red, green, blue]: Pixel) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Pixels, row by row.
struct Picture {
    width: usize,
    pixels: Vec<Pixel>,
}

impl Picture {
    fn new(width: u32, height: u32) -> Result<Self> {
        let [width, height] = [width, height].map(usize::try_from);
        let (width, height) = (width?, height?);
        let len = width.checked_mul(height).context("a drawing too large")?;
        Ok(Self { width, pixels: vec![BACKGROUND.light; len] })
    }

    /// Lets a colour cover a pixel, up to 255 wholly. What lies outside is not drawn.
    fn mix(&mut self, x: u32, y: u32, color: Pixel, cover: u8) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        let Some(pixel) = self.pixels.get_mut(y * self.width + x).filter(|_| x < self.width) else { return };
        for (below, above) in pixel.iter_mut().zip(color) {
            let mixed = u16::from(*below) * u16::from(0xff - cover) + u16::from(above) * u16::from(cover);
            *below = u8::try_from(mixed / 0xff).unwrap_or(u8::MAX);
        }
    }

    fn write(&mut self, x: u32, y: u32, text: &str) {
        let half = u32::try_from(TEXT_HEIGHT.val() / 2).unwrap_or(0);
        let raster = |character| get_raster(character, FontWeight::Regular, TEXT_HEIGHT);
        let places = (0..).map(|index: u32| x + index * CHARACTER_WIDTH);
        for (character, x) in text.chars().zip(places) {
            let Some(raster) = raster(character).or_else(|| raster('?')) else { continue };
            self.put(x, y.saturating_sub(half), &raster);
        }
    }

    fn put(&mut self, x: u32, y: u32, character: &RasterizedChar) {
        for (y, line) in (y..).zip(character.rows()) {
            for (x, cover) in (x..).zip(line.iter()) {
                self.mix(x, y, INK.light, *cover);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing() -> Drawing {
        let text = |end, text: &str| Shape::Text { x: 100, y: 20, end, text: text.to_owned() };
        let bar = Shape::Rectangle { x: 10, y: 30, width: 50, height: 7, color: DOORSTEP };
        Drawing {
            width: 200,
            height: 40,
            shapes: vec![bar, text(End::Left, "<a> & b"), text(End::Right, "c")],
        }
    }

    #[test]
    fn the_svg_is_xml_and_has_every_shape_and_both_sets_of_colours() {
        let svg = drawing().to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<_> = document.descendants().filter(|node| node.has_tag_name("text")).collect();
        assert_eq!(texts.iter().filter_map(|text| text.text()).collect::<Vec<_>>(), ["<a> & b", "c"]);
        assert_eq!(texts[1].attribute("text-anchor"), Some("end"));
        let bars = document.descendants().filter(|node| node.attribute("class") == Some("doorstep"));
        assert_eq!(bars.map(|bar| bar.attribute("width")).collect::<Vec<_>>(), [Some("50")]);
        for color in [BACKGROUND, INK, DOORSTEP] {
            for pixel in [color.light, color.dark] {
                let rule = format!(".{} {{ fill: {} }}", color.name, hexadecimal(pixel));
                assert!(svg.contains(&rule), "{rule} in {svg}");
            }
        }
    }

    #[test]
    fn the_png_shows_the_same() {
        let file = drawing().to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (200, 40));
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        let (pixels, _) = bytes.as_chunks::<3>();
        assert_eq!(pixels.iter().filter(|pixel| **pixel == DOORSTEP.light).count(), 50 * 7);
        let columns_with_ink: Vec<_> = (0..200)
            .filter(|x| (0..28).any(|y| pixels[y * 200 + x] != BACKGROUND.light))
            .map(|x| u32::try_from(x).unwrap())
            .collect();
        let (first, last) = (columns_with_ink[0], columns_with_ink[columns_with_ink.len() - 1]);
        assert!((100 - CHARACTER_WIDTH..100).contains(&first), "the text that ends at 100 begins at {first}");
        assert!((100 + 6 * CHARACTER_WIDTH..100 + 7 * CHARACTER_WIDTH).contains(&last), "{last}");
    }

    #[test]
    fn the_suffix_says_the_format() {
        assert_eq!(Format::of(Path::new("a/b.svg")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.png")).unwrap(), Format::Png);
        let error = Format::of(Path::new("a/b.jpg")).unwrap_err().to_string();
        assert!(error.contains("a/b.jpg, expected a name that ends with .svg or .png"), "{error}");
    }
}
