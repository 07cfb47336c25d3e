//! The 1 797 handwritten digits, split into those to train on and those held out.

use std::io::Read;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Pixels of an image.
pub const PIXELS: usize = 64;
/// Images to train on; the other 360 are held out.
pub const TRAINED: usize = 1437;
/// The seed of the split, which is the same for all runs.
const SPLIT_SEED: u64 = 1797;

/// Images and their labels.
#[derive(Default)]
pub struct Digits {
    /// `[count, 64]`, 0 to 16 as they were scanned.
    pub images: Vec<f32>,
    /// `[count]`, 0 to 9.
    pub labels: Vec<u32>,
}

impl Digits {
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Some of them, in this order.
    pub fn pick(&self, places: &[usize]) -> Self {
        let image = |&place: &usize| &self.images[place * PIXELS..(place + 1) * PIXELS];
        let images = places.iter().flat_map(image).copied().collect();
        Self { images, labels: places.iter().map(|&place| self.labels[place]).collect() }
    }
}

/// All digits, in the order of the file.
pub fn all() -> Result<Digits, Box<dyn std::error::Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/digits.csv.gz");
    let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text)?;
    let mut digits = Digits::default();
    for line in text.lines() {
        let values = line.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
        let (label, pixels) = values.split_last().filter(|(_, p)| p.len() == PIXELS).ok_or("a line is cut short")?;
        digits.images.extend(pixels);
        digits.labels.push(*label as u32);
    }
    Ok(digits)
}

/// The images to train on, and those held out.
pub fn load() -> Result<(Digits, Digits), Box<dyn std::error::Error>> {
    let all = all()?;
    let mut places: Vec<usize> = (0..all.count()).collect();
    places.shuffle(&mut ChaCha8Rng::seed_from_u64(SPLIT_SEED));
    let (train, held_out) = places.split_at(TRAINED);
    Ok((all.pick(train), all.pick(held_out)))
}

/// The order in which an epoch takes the images.
pub fn order(count: usize, seed: u64, epoch: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64((seed << 32) | u64::from(epoch)));
    order
}
