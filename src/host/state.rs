//! A layer's parameters and running statistics, as other frameworks save them.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::files::{open_safetensors, read_view};
use crate::error::Error;

/// What a batch-norm layer keeps between steps; each `[channels]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The scale; PyTorch's `weight`, Keras' `gamma`.
    pub gamma: Option<Vec<f32>>,
    /// The shift; PyTorch's `bias`, Keras' `beta`.
    pub beta: Option<Vec<f32>>,
    /// The running mean; PyTorch's `running_mean`, Keras' `moving_mean`.
    pub running_mean: Option<Vec<f32>>,
    /// The running population or unbiased variance; PyTorch's `running_var`, Keras' `moving_variance`.
    pub running_variance: Option<Vec<f32>>,
    /// Batches seen; PyTorch's `num_batches_tracked`.
    pub batches: Option<u64>,
}

/// Each field under PyTorch's name and under Keras'.
const NAMES: [[&str; 2]; 4] =
    [["weight", "gamma"], ["bias", "beta"], ["running_mean", "moving_mean"], ["running_var", "moving_variance"]];
/// PyTorch's counter.
const BATCHES: &str = "num_batches_tracked";
/// What stands between a layer's name and a field's: PyTorch's, and Keras'.
const SEPARATORS: [char; 2] = ['.', '/'];

fn refused<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::State(message.into()))
}

/// The layer of a tensor's name, and whether its last part is a statistic, which only batch norm has.
fn layer_of(name: &str) -> Option<(&str, bool)> {
    let (layer, field) = name.rsplit_once(SEPARATORS).unwrap_or(("", name));
    let field = field.strip_suffix(":0").unwrap_or(field);
    let known = field == BATCHES || NAMES.as_flattened().contains(&field);
    let statistic = field == BATCHES || NAMES[2..].as_flattened().contains(&field);
    known.then_some((layer, statistic))
}

/// The batch-norm layers in a file: those whose tensors have a running statistic, or else all that have one of the
/// names. A layer without a name is the empty text.
fn layers_of(file: &SafeTensors<'_>) -> Vec<String> {
    let found: BTreeMap<String, bool> =
        file.names().into_iter().filter_map(layer_of).fold(BTreeMap::new(), |mut found, (layer, statistic)| {
            *found.entry(layer.to_owned()).or_default() |= statistic;
            found
        });
    let any = found.values().any(|&statistic| statistic);
    found.into_iter().filter(|&(_, statistic)| statistic || !any).map(|(layer, _)| layer).collect()
}

/// The batch-norm layers in a `.safetensors` file, sorted; one without a name is the empty text.
///
/// # Errors
/// [`Error::State`] if the file is none
pub fn layers(file: &[u8]) -> Result<Vec<String>, Error> {
    Ok(layers_of(&open_safetensors(file)?))
}

/// The layer that is meant: the one named, or the only one, whose name may be the empty text.
///
/// # Errors
/// [`Error::State`] if the file is none, or if no layer is named and there is not exactly one
pub fn layer_meant(file: &[u8], layer: Option<&str>) -> Result<String, Error> {
    choose(&open_safetensors(file)?, layer)
}

fn choose(file: &SafeTensors<'_>, layer: Option<&str>) -> Result<String, Error> {
    if let Some(layer) = layer {
        return Ok(layer.to_owned());
    }
    let mut layers = layers_of(file);
    match (layers.pop(), layers.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            refused(format!("the file holds several layers; name one of {}, {last}", layers.join(", ")))
        }
        (None, _) => refused("the file holds no tensor of a batch-norm layer"),
    }
}

/// A tensor of a layer, under any of its names.
fn find<'a>(file: &SafeTensors<'a>, layer: &str, fields: &[&str]) -> Option<(String, TensorView<'a>)> {
    let spelled = |field: &&str| {
        let separated = SEPARATORS.map(|separator| format!("{layer}{separator}{field}"));
        let names = if layer.is_empty() { vec![(*field).to_owned()] } else { separated.to_vec() };
        names.into_iter().flat_map(|name| [format!("{name}:0"), name])
    };
    let mut names = fields.iter().flat_map(spelled);
    names.find_map(|name| file.tensor(&name).ok().map(|view| (name, view)))
}

impl State {
    /// A new layer's state: gamma 1, beta 0, running mean 0, running variance 1, no batches seen.
    pub fn new(channels: usize) -> Self {
        Self {
            gamma: Some(vec![1.0; channels]),
            beta: Some(vec![0.0; channels]),
            running_mean: Some(vec![0.0; channels]),
            running_variance: Some(vec![1.0; channels]),
            batches: Some(0),
        }
    }

    /// Reads a layer from a `.safetensors` file, under PyTorch's names (`conv1_BN.weight`) or Keras'
    /// (`conv1_BN/gamma`). Without a name the file must hold one layer, prefixed or not.
    ///
    /// `num_batches_tracked` may have the shape `[]` or `[1]`.
    ///
    /// # Errors
    /// [`Error::State`] if the file is cut short or none, has no such layer or several to choose from, if a tensor is of
    /// another type or shape than it should be, or if they differ in size
    pub fn read(file: &[u8], layer: Option<&str>) -> Result<Self, Error> {
        let file = open_safetensors(file)?;
        let layer = choose(&file, layer)?;
        let mut channels: Option<(String, usize)> = None;
        let mut field = |names: &[&str]| {
            let Some((name, view)) = find(&file, &layer, names) else { return Ok(None) };
            if !matches!(view.dtype(), Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
                return refused(format!("`{name}` is {:?}; F32, F64, F16 or BF16 is needed", view.dtype()));
            }
            let &[count] = view.shape() else {
                return refused(format!("`{name}` has dimensions {:?}; one value per channel is needed", view.shape()));
            };
            match &channels {
                Some((first, other)) if *other != count => {
                    return refused(format!("`{name}` has {count} channels and `{first}` has {other}"));
                }
                _ => channels = Some((name.clone(), count)),
            }
            Ok(Some(read_view(&view, &name)?.values.into_raw_vec_and_offset().0))
        };
        let [gamma, beta, running_mean, running_variance] =
            [field(&NAMES[0])?, field(&NAMES[1])?, field(&NAMES[2])?, field(&NAMES[3])?];
        let batches = find(&file, &layer, &[BATCHES]).map(|(name, view)| read_batches(&view, &name)).transpose()?;
        if running_mean.is_some() != running_variance.is_some() {
            let (has, lacks) = if running_mean.is_some() { (NAMES[2], NAMES[3]) } else { (NAMES[3], NAMES[2]) };
            return refused(format!("layer \"{layer}\" has {} and no {}", has.join(" or "), lacks.join(" or ")));
        }
        let state = Self { gamma, beta, running_mean, running_variance, batches };
        if state.channels().is_none() {
            let names = layers_of(&file).join(", ");
            return refused(format!("there is no layer \"{layer}\"; the batch-norm layers are: {names}"));
        }
        Ok(state)
    }

    /// How many channels the state has; none where it holds nothing per channel.
    pub fn channels(&self) -> Option<usize> {
        let fields = [&self.gamma, &self.beta, &self.running_mean, &self.running_variance];
        fields.into_iter().flatten().map(Vec::len).next()
    }

    /// A `.safetensors` file with this state under PyTorch's names, `num_batches_tracked` with the shape `[]`.
    ///
    /// `others` is a file whose other tensors and whose metadata are kept as they are: a network of which one layer is
    /// replaced, whatever names it had there.
    ///
    /// # Errors
    /// [`Error::State`] if `others` is no such file
    pub fn write(&self, layer: Option<&str>, others: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let layer = layer.unwrap_or_default();
        let file = others;
        let others = others.map(open_safetensors).transpose()?;
        let prefix = if layer.is_empty() { String::new() } else { format!("{layer}.") };
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        if let Some(others) = &others {
            let kept = others.tensors().into_iter().filter(|(name, _)| layer_of(name).is_none_or(|l| l.0 != layer));
            tensors.extend(kept.map(|(name, v)| (name, v.dtype(), v.shape().to_vec(), v.data().to_vec())));
        }
        let fields = [&self.gamma, &self.beta, &self.running_mean, &self.running_variance];
        for ([name, _], values) in NAMES.iter().zip(fields) {
            let Some(values) = values else { continue };
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((format!("{prefix}{name}"), Dtype::F32, vec![values.len()], bytes));
        }
        if let Some(batches) = self.batches {
            let count =
                i64::try_from(batches).or_else(|_| refused(format!("{batches} batches are too many to save")))?;
            tensors.push((format!("{prefix}{BATCHES}"), Dtype::I64, Vec::new(), count.to_le_bytes().to_vec()));
        }
        let failed =
            |error: safetensors::SafeTensorError| Error::State(format!("the state cannot be written: {error}"));
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        // What else the file tells of itself: some loaders want to know its format.
        let told = match file {
            Some(file) => SafeTensors::read_metadata(file).map_err(failed)?.1.metadata().clone(),
            None => None,
        };
        safetensors::serialize(views, told).map_err(failed)
    }
}

fn read_batches(view: &TensorView<'_>, name: &str) -> Result<u64, Error> {
    if view.dtype() != Dtype::I64 || !matches!(view.shape(), [] | [1]) {
        return refused(format!("`{name}` is {:?} {:?}; one I64 is needed", view.dtype(), view.shape()));
    }
    let count = <[u8; 8]>::try_from(view.data()).map(i64::from_le_bytes);
    match count.map(u64::try_from) {
        Ok(Ok(count)) => Ok(count),
        Ok(Err(_)) => refused(format!("`{name}` is negative")),
        Err(_) => refused(format!("`{name}` has {} bytes; 8 are needed", view.data().len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Draft = Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>;

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn file(draft: &Draft) -> Vec<u8> {
        let views = draft
            .iter()
            .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn pytorch() -> Draft {
        vec![
            ("a.weight", Dtype::F32, vec![2], f32s(&[1.0, 2.0])),
            ("a.bias", Dtype::F32, vec![2], f32s(&[3.0, 4.0])),
            ("a.running_mean", Dtype::F32, vec![2], f32s(&[5.0, 6.0])),
            ("a.running_var", Dtype::F32, vec![2], f32s(&[7.0, 8.0])),
            ("a.num_batches_tracked", Dtype::I64, vec![1], 9i64.to_le_bytes().to_vec()),
            ("conv.weight", Dtype::F32, vec![1, 1, 3], f32s(&[0.0; 3])),
        ]
    }

    fn state() -> State {
        State {
            gamma: Some(vec![1.0, 2.0]),
            beta: Some(vec![3.0, 4.0]),
            running_mean: Some(vec![5.0, 6.0]),
            running_variance: Some(vec![7.0, 8.0]),
            batches: Some(9),
        }
    }

    fn says(result: Result<State, Error>, what: &str) {
        match result {
            Err(Error::State(message)) => assert!(message.contains(what), "{message}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pytorch_names_are_read_with_and_without_a_prefix() {
        let file_of_one = file(&pytorch());
        assert_eq!(State::read(&file_of_one, Some("a")).unwrap(), state());
        assert_eq!(State::read(&file_of_one, None).unwrap(), state());
        let bare = state().write(None, None).unwrap();
        assert_eq!(State::read(&bare, None).unwrap(), state());
        assert_eq!(layers(&bare).unwrap(), [""]);
    }

    #[test]
    fn keras_names_are_read() {
        let draft = vec![
            ("bn/gamma:0", Dtype::F32, vec![1], f32s(&[1.0])),
            ("bn/beta:0", Dtype::F32, vec![1], f32s(&[2.0])),
            ("bn/moving_mean:0", Dtype::F32, vec![1], f32s(&[3.0])),
            ("bn/moving_variance:0", Dtype::F32, vec![1], f32s(&[4.0])),
        ];
        let read = State::read(&file(&draft), None).unwrap();
        let one = |v: f32| Some(vec![v]);
        let expected = State {
            gamma: one(1.0),
            beta: one(2.0),
            running_mean: one(3.0),
            running_variance: one(4.0),
            batches: None,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_written_replaces_one_layer_and_keeps_the_others() {
        let mut new = state();
        new.batches = Some(10);
        let written = new.write(Some("a"), Some(&file(&pytorch()))).unwrap();
        assert_eq!(State::read(&written, Some("a")).unwrap(), new);
        let tensors = SafeTensors::deserialize(&written).unwrap();
        assert_eq!(tensors.tensor("a.num_batches_tracked").unwrap().shape(), &[] as &[usize]);
        assert_eq!(tensors.tensor("conv.weight").unwrap().shape(), [1, 1, 3]);
        assert_eq!(tensors.len(), 6);
    }

    #[test]
    fn a_file_that_is_not_right_is_refused_by_name() {
        let whole = file(&pytorch());
        for length in 0..whole.len() {
            assert!(matches!(State::read(&whole[..length], Some("a")), Err(Error::State(_))), "{length}");
        }
        says(State::read(b"\x93NUMPY", None), "not a whole .safetensors file");
        says(State::read(&whole, Some("b")), "there is no layer \"b\"; the batch-norm layers are: a");
        type Spoil = fn(&mut Draft);
        let cases: [(Spoil, &str); 8] = [
            (|d| d[0].1 = Dtype::I32, "`a.weight` is I32"),
            (|d| d[1].2 = vec![2, 1], "`a.bias` has dimensions [2, 1]"),
            (|d| (d[1].2, d[1].3) = (vec![1], f32s(&[3.0])), "`a.bias` has 1 channels and `a.weight` has 2"),
            (|d| drop(d.remove(3)), "has running_mean or moving_mean and no running_var or moving_variance"),
            (|d| d[4].1 = Dtype::U64, "`a.num_batches_tracked` is U64"),
            (|d| d[4].3 = (-1i64).to_le_bytes().to_vec(), "negative"),
            (|d| (d[4].2, d[4].3) = (vec![2], vec![0; 16]), "one I64 is needed"),
            (|d| d.retain(|t| t.0 == "other"), "no tensor of a batch-norm layer"),
        ];
        for (spoil, what) in cases {
            let mut draft = pytorch();
            spoil(&mut draft);
            says(State::read(&file(&draft), None), what);
        }
        let mut two = pytorch();
        two.push(("b.running_mean", Dtype::F32, vec![1], f32s(&[0.0])));
        says(State::read(&file(&two), None), "name one of a, b");
    }
}
