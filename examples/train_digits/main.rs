//! A training prototype: a multilayer perceptron learns 1 797 handwritten digits on the device, with and without batch
//! normalisation, and draws what batch normalisation is for.
//!
//! `cargo run --release --features cli --example train_digits` trains with three learning rates, then four more
//! seeds with batch normalisation; it prints the held-out accuracies and draws the loss curves into `--out`.

mod data;
mod network;
mod plot;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use wgpu_batchnorm::host::Gpu;

use data::Digits;
use network::{Figures, Network, Settings};
use plot::Curve;

#[derive(Parser)]
#[command(about = "Trains a multilayer perceptron on 1 797 handwritten digits, with and without batch normalisation")]
struct Arguments {
    /// Passes over the images
    #[arg(long, default_value_t = 20)]
    epochs: u32,
    /// Runs with batch normalisation, of which the median accuracy is told
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Learning rates that are compared; the seeds are compared at the middle one
    #[arg(long, value_delimiter = ',', num_args = 1..=3, default_values_t = [0.03, 0.3, 3.0])]
    rates: Vec<f32>,
    /// Where the curves and the trained network go
    #[arg(long, default_value = "target/train_digits")]
    out: PathBuf,
    /// Two epochs and one seed, and no accuracy is asked for: shows that everything runs
    #[arg(long)]
    quick: bool,
    /// Which adapter: an index, a backend or part of a name
    #[arg(long)]
    adapter: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.epochs, arguments.seeds) = (2, 1);
    }
    pollster::block_on(run(&arguments))
}

/// What all runs share.
struct Bench {
    gpu: Gpu,
    train: Digits,
    held_out: Digits,
    progress: ProgressBar,
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (train, held_out) = data::load()?;
    let gpu = Gpu::select(arguments.adapter.as_deref()).await?.self_checked().await?;
    println!("{}: {} digits to train on, {} held out", gpu.title(), train.count(), held_out.count());
    let rates = &arguments.rates;
    let middle = rates.len() / 2;
    let runs = 2 * rates.len() as u64 + arguments.seeds - 1;
    let progress = ProgressBar::new(runs * u64::from(arguments.epochs));
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} epochs, {eta} left  {msg}")?);
    let bench = Bench { gpu, train, held_out, progress };
    std::fs::create_dir_all(&arguments.out)?;

    let mut curves = Vec::new();
    for batch_norm in [false, true] {
        for &rate in rates {
            let settings = Settings { batch_norm, rate, seed: 0 };
            let (network, figures) = bench.train(&settings, arguments.epochs).await?;
            let accuracy = figures.last().map_or(0.0, |f| f.accuracy);
            if batch_norm && rate == rates[middle] {
                std::fs::write(arguments.out.join("train_digits.safetensors"), network.save().await?)?;
                bench.resumes(&settings, &network, arguments.epochs).await?;
            }
            curves.push(Curve { batch_norm, rate, losses: figures.iter().map(|f| f.loss).collect(), accuracy });
        }
    }
    plot::draw(&curves, rates, &arguments.out)?;

    let mut accuracies = vec![curves[rates.len() + middle].accuracy];
    for seed in 1..arguments.seeds {
        let settings = Settings { batch_norm: true, rate: rates[middle], seed };
        let (_, figures) = bench.train(&settings, arguments.epochs).await?;
        accuracies.push(figures.last().map_or(0.0, |f| f.accuracy));
    }
    bench.progress.finish_and_clear();
    accuracies.sort_by(f64::total_cmp);
    let median = accuracies[accuracies.len() / 2];
    println!(
        "median held-out accuracy with batch normalisation, rate {}, {} seeds: {:.1} %",
        rates[middle],
        accuracies.len(),
        100.0 * median
    );
    println!("curves in {}", arguments.out.join("train_digits.svg").display());
    if median < 0.96 && !arguments.quick {
        return Err("at least 96 % was expected".into());
    }
    Ok(())
}

impl Bench {
    /// Saves a network, and has a new one go on from the file beside it for an epoch: both tell the same.
    async fn resumes(&self, settings: &Settings, network: &Network, epoch: u32) -> Result<(), Box<dyn Error>> {
        let resumed =
            Network::new(&self.gpu, &Settings { seed: settings.seed + 1, ..*settings }, &self.train, &self.held_out)?;
        resumed.load(&network.save().await?)?;
        let order = data::order(self.train.count(), settings.seed, epoch);
        let (went_on, resumed) = (network.epoch(&order).await?, resumed.epoch(&order).await?);
        if went_on != resumed {
            return Err(format!("the saved state resumed to {resumed:?}; {went_on:?} was expected").into());
        }
        self.progress.suspend(|| println!("the saved state resumes to the same figures: loss {:.6}", resumed.loss));
        Ok(())
    }

    /// Trains a new network; the figures of each epoch.
    async fn train(&self, settings: &Settings, epochs: u32) -> Result<(Network, Vec<Figures>), Box<dyn Error>> {
        let started = Instant::now();
        let network = Network::new(&self.gpu, settings, &self.train, &self.held_out)?;
        let &Settings { batch_norm, rate, seed } = settings;
        let name = format!("{} batch norm, rate {rate}, seed {seed}", if batch_norm { "with" } else { "without" });
        let mut figures = Vec::new();
        for epoch in 0..epochs {
            let figure = network.epoch(&data::order(self.train.count(), seed, epoch)).await?;
            self.progress.set_message(format!("{name}: loss {:.4}", figure.loss));
            self.progress.inc(1);
            figures.push(figure);
        }
        let last = figures.last().ok_or("at least one epoch is needed")?;
        self.progress.suspend(|| {
            println!(
                "{name:<38} loss {:>9.4}   held out {:>5.1} %   {:.1} s",
                last.loss,
                100.0 * last.accuracy,
                started.elapsed().as_secs_f64()
            );
        });
        Ok((network, figures))
    }
}
