//! Times the CPU implementation on arrays that another program supplies, one request at a time, so that the two can be
//! timed in turns: `benches/peers/torch.py` is that program.
//!
//! Requests are lines on standard input, answers lines on standard output:
//! ```text
//! load DIMENSIONS AXIS X DY   dimensions as 8,3,224,224; X and DY are files of raw little-endian f32     → ok
//! time OPERATION REPEATS      inference, training, both (training, then backward), or the plain copies
//!                             copy (y from x) and copies (y from x, dx from dy)                          → seconds …
//! save Y DX                   writes what training and backward left, to compare                         → ok
//! ```
//! `RAYON_NUM_THREADS` sets the number of threads.

use std::io::{BufRead, Write};
use std::time::Instant;

use wgpu_batchnorm::{Config, Shape, cpu};

struct Problem {
    shape: Shape,
    x: Vec<f32>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
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

impl Problem {
    fn load(dimensions: &str, axis: &str, x: &str, dy: &str) -> Result<Self, Failure> {
        let dimensions = dimensions.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let shape = Shape::new(&dimensions, axis.parse()?)?;
        let (n, c) = (shape.elements() as usize, shape.channels() as usize);
        let read = |path: &str| -> Result<Vec<f32>, Failure> {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(&std::fs::read(path)?);
            let short = || format!("{path} holds {} values, {n} are needed", values.len());
            Ok(values.get(..n).ok_or_else(short)?.to_vec())
        };
        Ok(Self {
            x: read(x)?,
            dy: read(dy)?,
            gamma: vec![1.5; c],
            beta: vec![0.5; c],
            mean: vec![0.25; c],
            variance: vec![2.0; c],
            // Not 0.0, so that every page is really there.
            y: vec![1.0; n],
            dx: vec![1.0; n],
            saved: vec![cpu::Saved::default(); c],
            dgamma: vec![0.0; c],
            dbeta: vec![0.0; c],
            shape,
        })
    }

    fn run(&mut self, operation: &str) -> Result<(), Failure> {
        let config = Config::pytorch();
        let (gamma, beta) = (Some(&self.gamma[..]), Some(&self.beta[..]));
        match operation {
            "copy" => copy(&self.x, &mut self.y),
            "copies" => {
                copy(&self.x, &mut self.y);
                copy(&self.dy, &mut self.dx);
            }
            "inference" => cpu::inference(
                &self.shape,
                &config,
                cpu::Inference {
                    x: &self.x,
                    mean: &self.mean,
                    variance: &self.variance,
                    gamma,
                    beta,
                    residual: None,
                    y: &mut self.y,
                },
            )?,
            "training" | "both" => {
                let (y, saved) = (&mut self.y[..], &mut self.saved[..]);
                let arguments = cpu::Training { x: &self.x, gamma, beta, residual: None, y, saved };
                cpu::training(&self.shape, &config, arguments)?;
                if operation == "both" {
                    let arguments = cpu::Backward {
                        x: &self.x,
                        dy: &self.dy,
                        saved: &self.saved,
                        gamma,
                        beta,
                        residual: None,
                        dx: Some(&mut self.dx),
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
            (["load", dimensions, axis, x, dy], problem) => {
                *problem = Some(Problem::load(dimensions, axis, x, dy)?);
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
            (["save", y, dx], Some(problem)) => {
                std::fs::write(y, bytemuck::cast_slice(&problem.y))?;
                std::fs::write(dx, bytemuck::cast_slice(&problem.dx))?;
                "ok".to_owned()
            }
            _ => return Err(format!("not understood: {line}").into()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
