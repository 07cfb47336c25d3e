//! Conformance cases: inputs, and what another implementation computed of them.
//!
//! `cases.json` lists the cases; each names a `.safetensors` file with its tensors. The format is told in
//! `tests/conformance/README.md`.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView3};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use crate::check::compare::{Comparison, compare};
use crate::config::{Activation, Config, Momentum, RunningVariance};
use crate::dtype::DType;
use crate::error::Error;
use crate::reference;
use crate::shape::Shape;

/// What a case asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Operation {
    /// Statistics of the batch, normalisation, running update: `train` in the file.
    #[serde(rename = "train")]
    Training,
    /// Normalisation with the running statistics: `infer`.
    #[serde(rename = "infer")]
    Inference,
    /// Forward and backward through the statistics of the batch: `train_backward`.
    #[serde(rename = "train_backward")]
    Backward,
    /// Backward with the running statistics as constants: `infer_backward`.
    #[serde(rename = "infer_backward")]
    FrozenBackward,
}

impl Operation {
    /// The name that tables and files use.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Training => "training",
            Operation::Inference => "inference",
            Operation::Backward => "backward",
            Operation::FrozenBackward => "frozen backward",
        }
    }

    /// Whether the statistics are the batch's own.
    pub fn uses_batch_statistics(self) -> bool {
        matches!(self, Operation::Training | Operation::Backward)
    }

    /// Whether there are gradients.
    pub fn is_backward(self) -> bool {
        matches!(self, Operation::Backward | Operation::FrozenBackward)
    }
}

/// What an implementation computed for a case; the names are the file's.
///
/// `[elements]` in the tensor's own layout, or `[channels]`. Half values are widened to f32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// The output, `[elements]`.
    pub y: Option<Vec<f32>>,
    /// The batch's mean, `[channels]`.
    pub save_mean: Option<Vec<f32>>,
    /// `1 / √(population variance + epsilon)` of the batch, `[channels]`.
    pub save_invstd: Option<Vec<f32>>,
    /// The running mean after the batch, `[channels]`.
    pub running_mean_out: Option<Vec<f32>>,
    /// The running variance after the batch, `[channels]`.
    pub running_var_out: Option<Vec<f32>>,
    /// The gradient of x, `[elements]`.
    pub dx: Option<Vec<f32>>,
    /// The gradient of gamma, `[channels]`.
    pub dweight: Option<Vec<f32>>,
    /// The gradient of beta, `[channels]`.
    pub dbias: Option<Vec<f32>>,
    /// The gradient of the residual, `[elements]`.
    pub dresidual: Option<Vec<f32>>,
}

impl Outputs {
    /// The names of the fields, in their order.
    pub const NAMES: [&'static str; 9] =
        ["y", "save_mean", "save_invstd", "running_mean_out", "running_var_out", "dx", "dweight", "dbias", "dresidual"];

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        match name {
            "y" => self.y.as_deref(),
            "save_mean" => self.save_mean.as_deref(),
            "save_invstd" => self.save_invstd.as_deref(),
            "running_mean_out" => self.running_mean_out.as_deref(),
            "running_var_out" => self.running_var_out.as_deref(),
            "dx" => self.dx.as_deref(),
            "dweight" => self.dweight.as_deref(),
            "dbias" => self.dbias.as_deref(),
            "dresidual" => self.dresidual.as_deref(),
            _ => None,
        }
    }
}

/// What a case expects of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedTensor {
    /// One of [`Outputs::NAMES`].
    pub name: &'static str,
    /// The values, computed in f64.
    pub values: Vec<f64>,
    /// A value passes if `|got − expected| ≤ absolute + relative · |expected|`.
    pub absolute: f64,
    /// See `absolute`.
    pub relative: f64,
}

/// How one output of a case fared.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorVerdict {
    /// One of [`Outputs::NAMES`].
    pub name: &'static str,
    /// The comparison; none if the output is absent, which is a failure.
    pub comparison: Option<Comparison>,
}

impl TensorVerdict {
    /// Whether the output is there and within its tolerance.
    pub fn passed(&self) -> bool {
        self.comparison.is_some_and(|c| c.passed())
    }
}

impl std::fmt::Display for TensorVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.comparison {
            Some(comparison) => write!(f, "{}: {comparison}", self.name),
            None => write!(f, "{}: failed: absent", self.name),
        }
    }
}

/// A conformance case: what to compute, of what, and what must come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name, unique in its list.
    pub name: String,
    /// What computed the expected values.
    pub source: String,
    /// What is asked for.
    pub operation: Operation,
    /// The tensor's dimensions and channel axis.
    pub shape: Shape,
    /// Everything else; `running_update` is set where running statistics are to be updated.
    pub config: Config,
    /// The input, `[elements]`; exact in `config.dtype`.
    pub x: Vec<f32>,
    /// The scale, `[channels]`.
    pub gamma: Option<Vec<f32>>,
    /// The shift, `[channels]`.
    pub beta: Option<Vec<f32>>,
    /// The running mean before the call, `[channels]`.
    pub running_mean: Option<Vec<f32>>,
    /// The running variance before the call, `[channels]`.
    pub running_variance: Option<Vec<f32>>,
    /// Batches seen before the call; 0 if the file is silent.
    pub num_batches_tracked: u64,
    /// What is added before the activation, `[elements]`; exact in `config.dtype`.
    pub residual: Option<Vec<f32>>,
    /// The gradient at y, `[elements]`; exact in `config.dtype`.
    pub dy: Option<Vec<f32>>,
    /// What must come out.
    pub expected: Vec<ExpectedTensor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RunningVarianceName {
    Unbiased,
    Population,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActivationName {
    None,
    Relu,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum DTypeName {
    F32,
    F16,
    Bf16,
}

#[derive(Deserialize)]
struct Tolerance {
    abs: f64,
    rel: f64,
}

/// An entry of `cases.json`.
#[derive(Deserialize)]
struct Entry {
    name: String,
    source: String,
    op: Operation,
    axis: isize,
    shape: Vec<usize>,
    eps: f64,
    momentum: Option<f64>,
    running_var: RunningVarianceName,
    affine: bool,
    activation: ActivationName,
    residual: bool,
    dtype: DTypeName,
    tolerance_by_tensor: BTreeMap<String, Tolerance>,
    file: String,
}

/// Reads all cases of a directory that holds `cases.json` and the files it names.
///
/// # Errors
/// [`Error::State`] naming the file, the case and the tensor that cannot be read or contradicts its description
pub fn from_directory(directory: &Path) -> Result<Vec<Case>, Error> {
    read_all(|name| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(|e| Error::State(format!("{}: {e}", path.display())))
    })
}

/// Reads all cases from files in memory, `(file name, contents)`, one of them `cases.json`: what a browser, which has
/// no directory, embeds with `include_bytes!`.
///
/// # Errors
/// As [`from_directory`].
pub fn from_bytes(files: &[(&str, &[u8])]) -> Result<Vec<Case>, Error> {
    read_all(|name| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| Error::State(format!("{name}: not among the files given")))
    })
}

fn read_all(read: impl Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Vec<Case>, Error> {
    let list = read("cases.json")?;
    let entries: Vec<Entry> =
        serde_json::from_slice(&list).map_err(|e| Error::State(format!("cases.json: not a list of cases: {e}")))?;
    if entries.is_empty() {
        return Err(Error::State("cases.json: no cases".into()));
    }
    entries
        .into_iter()
        .map(|entry| {
            let (name, file) = (entry.name.clone(), entry.file.clone());
            let within = |e: Error| Error::State(format!("{file}: case `{name}`: {e}"));
            // A list of cases must not reach outside its directory.
            if file.contains(['/', '\\']) || file == ".." {
                return Err(within(Error::State("`file` is not a plain file name".into())));
            }
            let bytes = read(&file)?;
            read_case(entry, &bytes).map_err(within)
        })
        .collect()
}

fn refused<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::State(message.into()))
}

/// One tensor of a file, as f64, after its storage type and dimensions were held against what the case says.
fn read_tensor(view: &TensorView, name: &str, dtype: Dtype, dimensions: &[usize]) -> Result<Vec<f64>, Error> {
    if view.dtype() != dtype || view.shape() != dimensions {
        let (has, has_dimensions) = (view.dtype(), view.shape());
        return refused(format!("`{name}` is {has:?} {has_dimensions:?}; {dtype:?} {dimensions:?} is needed"));
    }
    let data = view.data();
    let values: Vec<f64> = match dtype {
        Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f64()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f64()).collect(),
        other => return refused(format!("`{name}` is {other:?}; that cannot be read")),
    };
    // The reader has checked both already; a count that is off by one must not pass as a shorter tensor.
    if values.len() != dimensions.iter().product::<usize>() {
        return refused(format!("`{name}` holds {} values; {dimensions:?} are needed", values.len()));
    }
    Ok(values)
}

/// Every storage type that tensors are read from is exact in f32, F64 apart, which inputs never are.
fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|v| v as f32).collect()
}

fn read_case(entry: Entry, bytes: &[u8]) -> Result<Case, Error> {
    let shape = Shape::new(&entry.shape, entry.axis)?;
    let (dtype, storage) = match entry.dtype {
        DTypeName::F32 => (DType::F32, Dtype::F32),
        DTypeName::F16 => (DType::F16, Dtype::F16),
        DTypeName::Bf16 => (DType::Bf16, Dtype::BF16),
    };
    let file = SafeTensors::deserialize(bytes).map_err(|e| Error::State(format!("not a safetensors file: {e}")))?;
    let mut tensors: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();

    let channels = [shape.channels() as usize];
    let mut input = |name: &str, dtype: Dtype, dimensions: &[usize]| {
        tensors.remove(name).map(|t| read_tensor(&t, name, dtype, dimensions).map(narrow)).transpose()
    };
    let x = input("x", storage, &entry.shape)?;
    let dy = input("dy", storage, &entry.shape)?;
    let residual = input("residual", storage, &entry.shape)?;
    let gamma = input("weight", Dtype::F32, &channels)?;
    let beta = input("bias", Dtype::F32, &channels)?;
    let running_mean = input("running_mean", Dtype::F32, &channels)?;
    let running_variance = input("running_var", Dtype::F32, &channels)?;
    let num_batches_tracked = match tensors.remove("num_batches_tracked") {
        Some(t) if t.dtype() == Dtype::I64 && t.shape().iter().product::<usize>() == 1 => t
            .data()
            .try_into()
            .ok()
            .and_then(|b| u64::try_from(i64::from_le_bytes(b)).ok())
            .ok_or_else(|| Error::State("`num_batches_tracked` is negative".into()))?,
        Some(t) => {
            return refused(format!("`num_batches_tracked` is {:?} {:?}; one I64 is needed", t.dtype(), t.shape()));
        }
        None => 0,
    };

    let Some(x) = x else { return refused("`x` is absent") };
    let operation = entry.op;
    let tracked = running_mean.is_some();
    // (tensor, whether the description asks for it, whether the file has it); training may or may not track running
    // statistics, but never one of the two.
    for (name, needed, present) in [
        ("weight", entry.affine, gamma.is_some()),
        ("bias", entry.affine, beta.is_some()),
        ("residual", entry.residual, residual.is_some()),
        ("dy", operation.is_backward(), dy.is_some()),
        ("running_mean", tracked || !operation.uses_batch_statistics(), tracked),
        ("running_var", tracked, running_variance.is_some()),
    ] {
        if needed != present {
            let (is, wants) = if present { ("present", "does without it") } else { ("absent", "needs it") };
            return refused(format!("`{name}` is {is}; the case {wants}"));
        }
    }

    let mut expected = Vec::new();
    for name in Outputs::NAMES {
        let Some(view) = tensors.remove(name) else { continue };
        let whole = matches!(name, "y" | "dx" | "dresidual");
        let values = read_tensor(&view, name, Dtype::F64, if whole { &entry.shape } else { &channels })?;
        let Some(&Tolerance { abs, rel }) = entry.tolerance_by_tensor.get(name) else {
            return refused(format!("`{name}` has no tolerance"));
        };
        if !(abs.is_finite() && rel.is_finite() && abs >= 0.0 && rel >= 0.0) {
            return refused(format!("`{name}` has a tolerance of {abs} + {rel} · |expected|"));
        }
        expected.push(ExpectedTensor { name, values, absolute: abs, relative: rel });
    }
    if let Some(name) = tensors.keys().next() {
        return refused(format!("`{name}` is no tensor of a case"));
    }
    if let Some(name) = entry.tolerance_by_tensor.keys().find(|n| expected.iter().all(|e| e.name != *n)) {
        return refused(format!("`{name}` has a tolerance and no expected values"));
    }
    if expected.is_empty() {
        return refused("nothing is expected");
    }

    let config = Config {
        epsilon: entry.eps as f32,
        momentum: entry.momentum.map_or(Momentum::Cumulative, |w| Momentum::NewValue(w as f32)),
        running_variance: match entry.running_var {
            RunningVarianceName::Unbiased => RunningVariance::Unbiased,
            RunningVarianceName::Population => RunningVariance::Population,
        },
        gamma: entry.affine,
        beta: entry.affine,
        count_batches: false,
        running_update: operation == Operation::Training && running_mean.is_some(),
        dtype,
        activation: match entry.activation {
            ActivationName::None => Activation::None,
            ActivationName::Relu => Activation::Relu,
        },
        residual: entry.residual,
    };
    config.validate()?;
    let (name, source) = (entry.name, entry.source);
    Ok(Case {
        name,
        source,
        operation,
        shape,
        config,
        x,
        gamma,
        beta,
        running_mean,
        running_variance,
        num_batches_tracked,
        residual,
        dy,
        expected,
    })
}

impl Case {
    /// Holds outputs against what is expected, one verdict for each expected tensor; an output that is absent fails.
    /// Outputs that the case does not speak of are ignored.
    pub fn judge(&self, outputs: &Outputs) -> Vec<TensorVerdict> {
        let verdict = |e: &ExpectedTensor| TensorVerdict {
            name: e.name,
            comparison: outputs
                .get(e.name)
                .map(|got| compare(got.iter().copied(), &e.values, |i| e.absolute + e.relative * e.values[i].abs())),
        };
        self.expected.iter().map(verdict).collect()
    }
}

/// Computes a case with the [`mod@reference`], its outputs rounded as an implementation stores them: `y`,
/// `dx` and `dresidual` to the case's storage type, statistics and the other gradients to f32.
///
/// # Errors
/// [`Error::WrongDimensions`] · [`Error::Missing`] if a case that was put together by hand lacks a tensor, or has one
/// of another size than its shape says
pub fn run_on_reference(case: &Case) -> Result<Outputs, Error> {
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let wide_option = |v: &Option<Vec<f32>>| v.as_deref().map(wide);
    let dimensions = reference::view(&case.shape);
    let config = &case.config;

    let x = wide(&case.x);
    let (gamma, beta) = (wide_option(&case.gamma), wide_option(&case.beta));
    let (dy, residual) = (wide_option(&case.dy), wide_option(&case.residual));
    let running_mean = wide_option(&case.running_mean);
    let running_variance = wide_option(&case.running_variance);
    let x = tensor("x", dimensions, &x)?;
    let dy = dy.as_deref().map(|v| tensor("dy", dimensions, v)).transpose()?;
    let residual = residual.as_deref().map(|v| tensor("residual", dimensions, v)).transpose()?;
    let channels = dimensions[1];
    let gamma = gamma.as_deref().map(|v| per_channel("gamma", channels, v)).transpose()?;
    let beta = beta.as_deref().map(|v| per_channel("beta", channels, v)).transpose()?;
    let running_mean = running_mean.as_deref().map(|v| per_channel("running_mean", channels, v)).transpose()?;
    let running_variance =
        running_variance.as_deref().map(|v| per_channel("running_variance", channels, v)).transpose()?;
    let running = running_mean.zip(running_variance);

    let stored = |values: &ndarray::Array3<f64>| {
        Some(values.iter().map(|&v| reference::round_to(config.dtype, v) as f32).collect::<Vec<f32>>())
    };
    let single = |values: &ndarray::Array1<f64>| Some(values.iter().map(|&v| v as f32).collect::<Vec<f32>>());
    let mut out = Outputs::default();

    let batch = reference::moments(x);
    let (mean, variance) = if case.operation.uses_batch_statistics() {
        out.save_mean = single(&batch.mean);
        out.save_invstd = single(&reference::inverse_std(batch.variance.view(), f64::from(config.epsilon)));
        (batch.mean.view(), batch.variance.view())
    } else {
        running.ok_or(Error::Missing { argument: "running_mean", reason: "the case normalises with it" })?
    };
    out.y = stored(&reference::apply(&reference::Apply { x, mean, variance, gamma, beta, residual }, config));

    if let (Operation::Training, Some((mean, variance))) = (case.operation, running) {
        let running = reference::Running { mean, variance, batches_before: case.num_batches_tracked };
        let (mean, variance) = reference::running_update(&running, &batch, config);
        (out.running_mean_out, out.running_var_out) = (single(&mean), single(&variance));
    }
    if case.operation.is_backward() {
        let dy = dy.ok_or(Error::Missing { argument: "dy", reason: "the case asks for gradients" })?;
        let frozen = case.operation == Operation::FrozenBackward;
        let b = reference::Backward { x, dy, mean, variance, gamma, beta, residual, frozen };
        let gradients = reference::backward(&b, config);
        out.dx = stored(&gradients.dx);
        out.dweight = single(&gradients.dgamma);
        out.dbias = single(&gradients.dbeta);
        out.dresidual = gradients.dresidual.as_ref().and_then(stored);
    }
    Ok(out)
}

fn tensor<'a>(argument: &'static str, dimensions: [usize; 3], values: &'a [f64]) -> Result<ArrayView3<'a, f64>, Error> {
    ArrayView3::from_shape(dimensions, values).map_err(|_| Error::WrongDimensions {
        argument,
        dimensions: vec![values.len()],
        needed: dimensions.to_vec(),
    })
}

fn per_channel<'a>(argument: &'static str, channels: usize, values: &'a [f64]) -> Result<ArrayView1<'a, f64>, Error> {
    if values.len() != channels {
        let dimensions = vec![values.len()];
        return Err(Error::WrongDimensions { argument, dimensions, needed: vec![channels] });
    }
    Ok(ArrayView1::from(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::serialize;

    /// A case as a file has it: a description and tensors, each to be spoilt at will.
    struct Draft {
        list: String,
        tensors: Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>,
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn f64s(values: &[f64]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    impl Draft {
        fn good() -> Self {
            let list = r#"[{"name": "one", "source": "pencil", "op": "infer", "axis": -1, "shape": [2, 1], "eps": 0.0,
                "momentum": null, "running_var": "population", "affine": true, "activation": "none",
                "residual": false, "dtype": "f32", "tolerance": {"abs": 0, "rel": 0},
                "tolerance_by_tensor": {"y": {"abs": 0.0, "rel": 1e-6}}, "file": "one.safetensors"}]"#;
            Self {
                list: list.into(),
                tensors: vec![
                    ("x", Dtype::F32, vec![2, 1], f32s(&[3.0, 5.0])),
                    ("weight", Dtype::F32, vec![1], f32s(&[2.0])),
                    ("bias", Dtype::F32, vec![1], f32s(&[0.5])),
                    ("running_mean", Dtype::F32, vec![1], f32s(&[1.0])),
                    ("running_var", Dtype::F32, vec![1], f32s(&[4.0])),
                    ("num_batches_tracked", Dtype::I64, vec![1], 7i64.to_le_bytes().into()),
                    ("y", Dtype::F64, vec![2, 1], f64s(&[2.5, 4.5])),
                ],
            }
        }

        fn file(&self) -> Vec<u8> {
            let views = self
                .tensors
                .iter()
                .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
            serialize(views, None).unwrap()
        }

        fn read(&self) -> Result<Vec<Case>, Error> {
            from_bytes(&[("cases.json", self.list.as_bytes()), ("one.safetensors", &self.file())])
        }
    }

    #[test]
    fn a_good_case_is_read_and_passes() {
        let cases = Draft::good().read().unwrap();
        let case = &cases[0];
        assert_eq!((case.operation, case.num_batches_tracked), (Operation::Inference, 7));
        assert_eq!((case.x.as_slice(), case.config.momentum), (&[3.0f32, 5.0][..], Momentum::Cumulative));
        let outputs = run_on_reference(case).unwrap();
        assert!(case.judge(&outputs).iter().all(|v| v.passed()));
    }

    #[test]
    fn an_output_that_is_absent_fails() {
        let case = Draft::good().read().unwrap().remove(0);
        let verdicts = case.judge(&Outputs::default());
        assert!(verdicts.len() == 1 && !verdicts[0].passed(), "{}", verdicts[0]);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let draft = Draft::good();
        let file = draft.file();
        for length in 0..file.len() {
            let read = from_bytes(&[("cases.json", draft.list.as_bytes()), ("one.safetensors", &file[..length])]);
            assert!(matches!(read, Err(Error::State(_))), "{length} bytes of {}", file.len());
        }
        for length in 0..draft.list.len() {
            let read = from_bytes(&[("cases.json", &draft.list.as_bytes()[..length]), ("one.safetensors", &file)]);
            assert!(matches!(read, Err(Error::State(_))), "{length} bytes of {}", draft.list.len());
        }
    }

    #[test]
    fn a_file_that_contradicts_its_description_is_refused_by_name() {
        let spoil = |what: &str, how: &dyn Fn(&mut Draft), says: &str| {
            let mut draft = Draft::good();
            how(&mut draft);
            match draft.read() {
                Err(Error::State(message)) => assert!(message.contains(says), "{what}: {message}"),
                other => panic!("{what}: {other:?}"),
            }
        };
        for name in ["x", "weight", "bias", "running_mean", "running_var"] {
            spoil(name, &|d| d.tensors.retain(|t| t.0 != name), &format!("`{name}` is absent"));
        }
        spoil("no output", &|d| d.tensors.retain(|t| t.0 != "y"), "`y` has a tolerance and no expected values");
        spoil("stray", &|d| d.tensors[5].0 = "stray", "`stray` is no tensor of a case");
        spoil("dy", &|d| d.tensors.push(("dy", Dtype::F32, vec![2, 1], f32s(&[1.0, 1.0]))), "`dy` is present");
        spoil("layout", &|d| d.tensors[0].2 = vec![1, 2], "`x` is F32 [1, 2]; F32 [2, 1] is needed");
        spoil("counter", &|d| d.tensors[5].3 = (-1i64).to_le_bytes().into(), "negative");
        for (from, to, says) in [
            (r#""dtype": "f32""#, r#""dtype": "f16""#, "`x` is F32"),
            (r#""dtype": "f32""#, r#""dtype": "f8""#, "unknown variant"),
            (r#""shape": [2, 1]"#, r#""shape": [2, 2]"#, "is needed"),
            (r#""axis": -1"#, r#""axis": 5"#, "axis 5 is out of range"),
            (r#""op": "infer""#, r#""op": "infer_backward""#, "`dy` is absent"),
            (r#""residual": false"#, r#""residual": true"#, "`residual` is absent"),
            (r#""affine": true"#, r#""affine": false"#, "`weight` is present"),
            (r#""eps": 0.0"#, r#""eps": -1.0"#, "epsilon"),
            (r#""rel": 1e-6"#, r#""rel": -1e-6"#, "tolerance"),
            (r#"{"y": {"abs": 0.0, "rel": 1e-6}}"#, "{}", "`y` has no tolerance"),
            ("one.safetensors", "../one.safetensors", "plain file name"),
            ("one.safetensors", "two.safetensors", "not among the files"),
        ] {
            spoil(to, &|d| d.list = d.list.replace(from, to), says);
        }
    }
}
