//! Times the CPU implementation on arrays that another program shares with it, one request at a time, so that the two can be
//! timed in turns: `benches/peers/torch.py` is that program.
//!
//! Requests are lines on standard input, answers lines on standard output:
//! ```text
//! load DIMENSIONS AXIS X DY Y DX   dimensions as 8,3,224,224; the others are files of so many f32, in the byte order of
//!                                  this machine, mapped into the memory of both programs                     → ok
//! time OPERATION REPEATS           inference, training, both (training, then backward), or the plain copies
//!                                  copy (y from x) and copies (y from x, dx from dy)                         → seconds …
//! ```
//! `RAYON_NUM_THREADS` sets the number of threads.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::time::Instant;

use memmap2::MmapMut;
use wgpu_batchnorm::{Config, Shape, cpu};

struct Problem {
    shape: Shape,
    x: Shared,
    dy: Shared,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    y: Shared,
    dx: Shared,
    saved: Vec<cpu::Saved>,
    dgamma: Vec<f32>,
    dbeta: Vec<f32>,
}

/// Each thread copies one piece; the calling thread begins at once, as in `cpu`.
fn copy(from: &[f32], to: &mut [f32]) {
    let piece = to.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut pieces = to.chunks_mut(piece).zip(from.chunks(piece));
    rayon::in_place_scope(|scope| {
        let first = pieces.next();
        pieces.for_each(|(to, from)| scope.spawn(|_| to.copy_from_slice(from)));
        if let Some((to, from)) = first {
            to.copy_from_slice(from);
        }
    });
}

type Failure = Box<dyn std::error::Error>;

/// An array in a file that both programs have mapped, so that both work on the same memory.
struct Shared(MmapMut);

impl Shared {
    #[expect(unsafe_code, reason = "the other program waits while this one works")]
    fn open(path: &str, values: usize) -> Result<Self, Failure> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        // SAFETY: the other program gives a file to one array alone, writes to it only between requests, and keeps its length.
        let map = unsafe { MmapMut::map_mut(&file)? };
        let (found, needed) = (map.len(), values * size_of::<f32>());
        if found == needed {
            Ok(Self(map))
        } else {
            Err(format!("{path} has {found} bytes, {needed} are needed").into())
        }
    }

    fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Problem {
    fn load(dimensions: &str, axis: &str, [x, dy, y, dx]: [&str; 4]) -> Result<Self, Failure> {
        let dimensions = dimensions.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let shape = Shape::new(&dimensions, axis.parse()?)?;
        let (n, c) = (shape.elements() as usize, shape.channels() as usize);
        Ok(Self {
            x: Shared::open(x, n)?,
            dy: Shared::open(dy, n)?,
            gamma: vec![1.5; c],
            beta: vec![0.5; c],
            mean: vec![0.25; c],
            variance: vec![2.0; c],
            y: Shared::open(y, n)?,
            dx: Shared::open(dx, n)?,
            saved: vec![cpu::Saved::default(); c],
            dgamma: vec![0.0; c],
            dbeta: vec![0.0; c],
            shape,
        })
    }

    fn run(&mut self, operation: &str) -> Result<(), Failure> {
        let config = Config::pytorch();
        let (gamma, beta) = (Some(&self.gamma[..]), Some(&self.beta[..]));
        let (x, dy, y, dx) = (self.x.values(), self.dy.values(), self.y.values_mut(), self.dx.values_mut());
        match operation {
            "copy" => copy(x, y),
            "copies" => {
                copy(x, y);
                copy(dy, dx);
            }
            "inference" => cpu::inference(
                &self.shape,
                &config,
                cpu::Inference { x, mean: &self.mean, variance: &self.variance, gamma, beta, residual: None, y },
            )?,
            "training" | "both" => {
                let arguments = cpu::Training { x, gamma, beta, residual: None, y, saved: &mut self.saved };
                cpu::training(&self.shape, &config, arguments)?;
                if operation == "both" {
                    let arguments = cpu::Backward {
                        x,
                        dy,
                        saved: &self.saved,
                        gamma,
                        beta,
                        residual: None,
                        dx: Some(dx),
                        dresidual: None,
                        dgamma: Some(&mut self.dgamma),
                        dbeta: Some(&mut self.dbeta),
                        frozen: false,
                    };
                    cpu::backward(&self.shape, &config, arguments)?;
                }
            }
            other => return Err(format!("no operation {other}").into()),
        }
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let mut problem = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (&words[..], &mut problem) {
            (["load", dimensions, axis, x, dy, y, dx], problem) => {
                *problem = Some(Problem::load(dimensions, axis, [x, dy, y, dx])?);
                "ok".to_owned()
            }
            (["time", operation, repeats], Some(problem)) => {
                let mut seconds = Vec::new();
                for _ in 0..repeats.parse()? {
                    let start = Instant::now();
                    problem.run(operation)?;
                    seconds.push(format!("{:e}", start.elapsed().as_secs_f64()));
                }
                seconds.join(" ")
            }
            _ => return Err(format!("not understood: {line}").into()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
