//! The loss curves, as SVG and PNG.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// The loss of one run, epoch by epoch.
pub struct Curve {
    pub batch_norm: bool,
    pub rate: f32,
    pub losses: Vec<f64>,
    /// The last held-out accuracy.
    pub accuracy: f64,
}

/// In pixels.
const SIZE: (u32, u32) = (1000, 440);
/// The range of losses that is drawn; ln 10 = 2.3 is what guessing costs.
const LOSSES: std::ops::Range<f64> = 1e-4..20.0;
/// Okabe & Ito's colours, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(204, 60, 120)];

/// Draws `train_digits.svg` and `train_digits.png` into a folder.
pub fn draw(curves: &[Curve], rates: &[f32], folder: &Path) -> Result<(), Box<dyn Error>> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()).map_err(|_| "the font cannot be read")?;
    let svg = folder.join("train_digits.svg");
    panels(&SVGBackend::new(&svg, SIZE).into_drawing_area(), curves, rates)?;
    let png = folder.join("train_digits.png");
    panels(&BitMapBackend::new(&png, SIZE).into_drawing_area(), curves, rates)
}

fn panels<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    curves: &[Curve],
    rates: &[f32],
) -> Result<(), Box<dyn Error>>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    let epochs = curves.iter().map(|curve| curve.losses.len()).max().unwrap_or(1);
    for (panel, batch_norm) in area.split_evenly((1, 2)).iter().zip([false, true]) {
        let title = if batch_norm { "with batch normalisation" } else { "without batch normalisation" };
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(1.0..epochs.max(2) as f64, LOSSES.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc("training loss")
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .y_label_formatter(&|loss| format!("{loss}"))
            .label_style(("sans-serif", 14))
            .max_light_lines(0)
            .draw()?;
        for (&rate, colour) in rates.iter().zip(COLOURS) {
            let Some(curve) = curves.iter().find(|c| c.rate == rate && c.batch_norm == batch_norm) else { continue };
            let style = colour.stroke_width(2);
            let points = curve.losses.iter().zip(1..).map(|(&loss, epoch)| {
                // What is no number has diverged, and leaves the picture at the top.
                let drawn = if loss.is_finite() { loss } else { LOSSES.end };
                (f64::from(epoch), drawn.clamp(LOSSES.start, LOSSES.end))
            });
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(format!("rate {rate}: {:.1} % held out", 100.0 * curve.accuracy))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()?;
    }
    area.present()?;
    Ok(())
}
