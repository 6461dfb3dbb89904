//! Models as safetensors files, named and oriented as the `state_dict` of a PyTorch `nn.Sequential`.
//!
//! For every `nn.Linear` a file holds `<prefix><index>.weight` of shape [outputs, inputs] and
//! `<prefix><index>.bias` of shape [outputs]; modules without parameters (activations, dropout) only take up
//! indices. Any increasing indices and one common prefix (`net.`, say) are accepted, and exported again as
//! they came.
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::error::{Error, ModelDefect, Result};
use crate::model::{Linear, Model};

/// Bound on a model file: 4 GiB.
const FILE_BYTES: u64 = 4 << 30;

/// A model with the names under which a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The layers.
    pub model: Model,
    /// Module index of each layer, increasing.
    pub modules: Vec<usize>,
    /// What every tensor's name begins with: empty, or ending in a dot.
    pub prefix: String,
    /// The file's metadata: free text by key.
    pub metadata: BTreeMap<String, String>,
}

impl ModelFile {
    /// A model whose layers alternate with activations: modules 0, 2, 4 and so on.
    pub fn new(model: Model) -> Self {
        let modules = (0..model.layers.len()).map(|layer| 2 * layer).collect();
        Self { model, modules, prefix: String::new(), metadata: BTreeMap::new() }
    }

    /// Reads a file of at most 4 GiB. F16, BF16 and F64 become F32.
    ///
    /// # Errors
    /// [`Error::Model`] for anything but dense layers whose shapes chain and whose values are finite. A layer
    /// without bias is refused rather than given one of zeros: refinement would learn a bias that the module
    /// could not load again.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let failed = |source| Error::Io { file: path.display().to_string(), source };
        let mut bytes = Vec::new();
        let opened = File::open(path).map_err(failed)?;
        opened.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let found = bytes.len() as u64;
        if found > FILE_BYTES {
            return Err(Error::Model { file, defect: ModelDefect::TooLarge { found, limit: FILE_BYTES } });
        }
        Self::from_bytes(&file, &bytes)
    }

    /// As [`load`](Self::load), from memory; `name` stands for the file in errors.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        Reader { file: name }.read(bytes)
    }

    /// Writes the file; another one of that name is replaced at once, when all is written.
    ///
    /// # Errors
    /// [`Error::Io`], and as [`to_bytes`](Self::to_bytes).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |source| Error::Io { file: path.display().to_string(), source };
        let bytes = self.to_bytes()?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|e| failed(e.error))?;
        Ok(())
    }

    /// The file's bytes: F32, tensors in the order of the layers. The same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when the model fails [`Model::check`], or modules do not increase, one per layer.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        const NAME: &str = "model";
        self.model.check_named(NAME, |layer, part| {
            let module = self.modules.get(layer).map_or_else(|| "?".into(), usize::to_string);
            format!("{}{module}.{part}", self.prefix)
        })?;
        let increasing = self.modules.windows(2).all(|pair| pair[0] < pair[1]);
        if self.modules.len() != self.model.layers.len() || !increasing {
            let reason = "module indices must increase, one for each layer".into();
            return Err(Error::Model { file: NAME.into(), defect: ModelDefect::Malformed { reason } });
        }
        let mut header = Header::default();
        if !self.metadata.is_empty() {
            header.push("__metadata__", &self.metadata);
        }
        let mut data: Vec<u8> = Vec::new();
        for (layer, module) in self.model.layers.iter().zip(&self.modules) {
            let weight = layer.torch_weight();
            let shape = [layer.outputs, layer.inputs];
            for (part, shape, values) in [("weight", &shape[..], &weight), ("bias", &shape[..1], &layer.bias)]
            {
                let start = data.len();
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                let entry = Entry { dtype: "F32", shape, data_offsets: [start, data.len()] };
                header.push(&format!("{}{module}.{part}", self.prefix), &entry);
            }
        }
        let header = header.finish();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(data);
        Ok(bytes)
    }
}

/// A tensor's entry in the header.
#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

/// The JSON object that a file starts with, in the order in which entries are pushed.
#[derive(Default)]
struct Header(String);

impl Header {
    fn push(&mut self, key: &str, value: &impl Serialize) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&json(&key));
        self.0.push(':');
        self.0.push_str(&json(value));
    }

    /// Padded with spaces, so that the tensors are aligned to 8 bytes.
    fn finish(mut self) -> Vec<u8> {
        self.0.push('}');
        let mut bytes = self.0.into_bytes();
        bytes.resize(bytes.len().next_multiple_of(8), b' ');
        bytes
    }
}

fn json(value: &impl Serialize) -> String {
    // Unwrap safety: only strings, numbers, and maps with string keys come here; writing them cannot fail.
    serde_json::to_string(value).unwrap()
}

struct Reader<'a> {
    file: &'a str,
}

/// The tensors of one module.
#[derive(Default)]
struct Module<'a> {
    weight: Option<TensorView<'a>>,
    bias: Option<TensorView<'a>>,
}

impl Reader<'_> {
    fn read(&self, bytes: &[u8]) -> Result<ModelFile> {
        let malformed =
            |e: safetensors::SafeTensorError| self.refuse(ModelDefect::Malformed { reason: e.to_string() });
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let tensors = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let (prefix, modules) = self.modules(tensors.tensors())?;
        let mut layers = Vec::with_capacity(modules.len());
        for (index, module) in &modules {
            layers.push(self.layer(&format!("{prefix}{index}"), module)?);
        }
        let file =
            ModelFile { model: Model { layers }, modules: modules.into_keys().collect(), prefix, metadata };
        file.model
            .check_named(self.file, |layer, part| format!("{}{}.{part}", file.prefix, file.modules[layer]))?;
        Ok(file)
    }

    /// The common prefix, and the modules by index.
    fn modules<'t>(
        &self,
        mut tensors: Vec<(String, TensorView<'t>)>,
    ) -> Result<(String, BTreeMap<usize, Module<'t>>)> {
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut prefix = None;
        let mut modules: BTreeMap<usize, Module<'t>> = BTreeMap::new();
        for (name, tensor) in tensors {
            let unknown = || self.refuse(ModelDefect::UnknownTensor { name: name.clone() });
            let (found, index, part) = split(&name).ok_or_else(unknown)?;
            if prefix.get_or_insert_with(|| found.to_string()) != found {
                return Err(unknown());
            }
            let module = modules.entry(index).or_default();
            let slot = if part == "weight" { &mut module.weight } else { &mut module.bias };
            *slot = Some(tensor);
        }
        Ok((prefix.unwrap_or_default(), modules))
    }

    fn layer(&self, name: &str, module: &Module<'_>) -> Result<Linear> {
        let missing = |part| self.refuse(ModelDefect::MissingTensor { name: format!("{name}.{part}") });
        let weight = module.weight.as_ref().ok_or_else(|| missing("weight"))?;
        let &[outputs, inputs] = weight.shape() else {
            let expected = "[outputs, inputs] of nn.Linear".into();
            return Err(self.shape(format!("{name}.weight"), weight, expected));
        };
        if outputs == 0 || inputs == 0 {
            return Err(self.shape(format!("{name}.weight"), weight, "no empty dimension".into()));
        }
        let bias = module.bias.as_ref().ok_or_else(|| missing("bias"))?;
        if bias.shape() != [outputs] {
            return Err(self.shape(format!("{name}.bias"), bias, format!("[{outputs}]")));
        }
        let weight = self.values(&format!("{name}.weight"), weight)?;
        let bias = self.values(&format!("{name}.bias"), bias)?;
        Ok(Linear::from_torch(inputs, outputs, &weight, bias))
    }

    fn values(&self, name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>> {
        let data = tensor.data();
        Ok(match tensor.dtype() {
            Dtype::F32 => elements(data, f32::from_le_bytes),
            Dtype::F64 => elements(data, |bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F16 => elements(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => elements(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            other => {
                let found = format!("{other:?}");
                return Err(self.refuse(ModelDefect::Type { name: name.into(), found }));
            }
        })
    }

    fn shape(&self, name: String, tensor: &TensorView<'_>, expected: String) -> Error {
        self.refuse(ModelDefect::Shape { name, found: tensor.shape().to_vec(), expected })
    }

    fn refuse(&self, defect: ModelDefect) -> Error {
        Error::Model { file: self.file.into(), defect }
    }
}

/// Splits `net.4.weight` into `net.`, 4 and `weight`.
fn split(name: &str) -> Option<(&str, usize, &str)> {
    let (path, part) = name.rsplit_once('.')?;
    let digits = path.len() - path.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, index) = path.split_at(digits);
    let canonical = index == "0" || !index.starts_with('0');
    let known = matches!(part, "weight" | "bias") && (prefix.is_empty() || prefix.ends_with('.'));
    (known && canonical).then_some((prefix, index.parse().ok()?, part))
}

fn elements<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)).collect()
}
