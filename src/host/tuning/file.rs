//! The file that keeps measured tunings, by adapter and driver.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::plan::{DeviceFacts, Tuning};

/// The environment variable that names another file; where it is empty or `none`, no file is read.
pub const VARIABLE: &str = "BATCHNORM_TUNING";

const SCHEMA: u32 = 1;

/// A file of measured tunings, one for each adapter and driver.
///
/// ```no_run
/// use wgpu_batchnorm::host::{Gpu, TuningFile};
/// use wgpu_batchnorm::plan::Tuning;
///
/// # async fn tune() -> Result<(), wgpu_batchnorm::Error> {
/// let gpu = Gpu::new().await?;
/// let tuning = Tuning::measure(gpu.device(), gpu.queue()).await?;
/// if let Some(file) = TuningFile::chosen() {
///     file.save(&gpu.device().adapter_info(), &tuning)?; // the next `Gpu::new` takes it from there
/// }
/// # Ok(())
/// # }
/// ```
///
/// It is JSON. A tuning counts only for the adapter, backend, driver and driver version that it was measured with, and
/// for this version of this crate; under any other the built-in table stands, until it is measured anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TuningFile {
    path: PathBuf,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    schema: u32,
    tunings: Vec<Entry>,
}

/// What a file of any version has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    adapter: String,
    backend: String,
    driver: String,
    driver_info: String,
    /// Of this crate: another has other kernels.
    version: String,
    tuning: Value,
}

impl Entry {
    fn new(adapter: &wgpu::AdapterInfo, tuning: Value) -> Self {
        Self {
            adapter: adapter.name.clone(),
            backend: adapter.backend.to_string(),
            driver: adapter.driver.clone(),
            driver_info: adapter.driver_info.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tuning,
        }
    }

    /// Whether it stands for the same adapter and driver, in whatever version.
    fn is_of(&self, other: &Self) -> bool {
        (&self.adapter, &self.backend, &self.driver) == (&other.adapter, &other.backend, &other.driver)
    }

    /// Whether it was measured with the same versions, on the same numbers.
    fn is_current(&self, other: &Self) -> bool {
        (&self.driver_info, &self.version) == (&other.driver_info, &other.version)
            && names(&self.tuning) == names(&other.tuning)
    }
}

/// The fields of an object.
fn names(object: &Value) -> BTreeSet<&String> {
    object.as_object().into_iter().flat_map(|fields| fields.keys()).collect()
}

impl TuningFile {
    /// The file at a path, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file that `BATCHNORM_TUNING` names, or the user's own, which need not exist: `wgpu-batchnorm/tuning.json` in
    /// `$XDG_CONFIG_HOME` or `~/.config`, in `~/Library/Application Support` on macOS, in `%APPDATA%` on Windows.
    ///
    /// None where the variable is empty or `none`, or where a user has no such folder.
    pub fn chosen() -> Option<Self> {
        match std::env::var_os(VARIABLE) {
            Some(path) if path.is_empty() || path == "none" => None,
            Some(path) => Some(Self::at(path)),
            None => dirs::config_dir().map(|folder| Self::at(folder.join("wgpu-batchnorm").join("tuning.json"))),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tuning that was measured for an adapter and its driver as they are now.
    ///
    /// # Errors
    /// [`Error::State`] if the file is there and cannot be read, or is not what it should be
    pub fn load(&self, adapter: &wgpu::AdapterInfo) -> Result<Option<Tuning>, Error> {
        let wanted = self.entry(adapter, &Tuning::for_device(&DeviceFacts::FLOOR))?;
        let contents = self.read()?;
        let found = contents.tunings.into_iter().find(|entry| entry.is_of(&wanted) && entry.is_current(&wanted));
        found.map(|entry| serde_json::from_value(entry.tuning).map_err(|error| self.is_wrong(&error))).transpose()
    }

    /// Whether what is there for an adapter no longer counts: it was measured with another version of the driver or of
    /// this crate.
    ///
    /// # Errors
    /// As [`TuningFile::load`].
    pub fn is_stale(&self, adapter: &wgpu::AdapterInfo) -> Result<bool, Error> {
        let wanted = self.entry(adapter, &Tuning::for_device(&DeviceFacts::FLOOR))?;
        let contents = self.read()?;
        Ok(contents.tunings.iter().any(|entry| entry.is_of(&wanted) && !entry.is_current(&wanted)))
    }

    /// Keeps a tuning for an adapter and its driver, in place of what was there for them. The file is replaced as a
    /// whole or not at all; its folder is made where it is missing.
    ///
    /// # Errors
    /// As [`TuningFile::load`] · [`Error::State`] if the file cannot be written
    pub fn save(&self, adapter: &wgpu::AdapterInfo, tuning: &Tuning) -> Result<(), Error> {
        let new = self.entry(adapter, tuning)?;
        let mut contents = self.read()?;
        contents.tunings.retain(|entry| !entry.is_of(&new));
        contents.tunings.push(new);
        self.write(&contents)
    }

    /// Forgets what was measured for an adapter and its driver, in whatever version; tells whether there was anything.
    ///
    /// # Errors
    /// As [`TuningFile::save`].
    pub fn forget(&self, adapter: &wgpu::AdapterInfo) -> Result<bool, Error> {
        let gone = Entry::new(adapter, Value::Null);
        let mut contents = self.read()?;
        let before = contents.tunings.len();
        contents.tunings.retain(|entry| !entry.is_of(&gone));
        let found = contents.tunings.len() < before;
        if found {
            self.write(&contents)?;
        }
        Ok(found)
    }

    fn entry(&self, adapter: &wgpu::AdapterInfo, tuning: &Tuning) -> Result<Entry, Error> {
        Ok(Entry::new(adapter, serde_json::to_value(tuning).map_err(|error| self.is_wrong(&error))?))
    }

    fn is_wrong(&self, why: &dyn std::fmt::Display) -> Error {
        Error::State(format!(
            "{} is not a file of tunings: {why}; delete it, or set {VARIABLE}=none to do without",
            self.path.display()
        ))
    }

    fn read(&self) -> Result<Contents, Error> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Contents { schema: SCHEMA, tunings: Vec::new() });
            }
            Err(error) => return Err(Error::State(format!("{} cannot be read: {error}", self.path.display()))),
        };
        let wrong = |error: serde_json::Error| self.is_wrong(&error);
        match serde_json::from_slice::<Versioned>(&bytes).map_err(wrong)?.schema {
            SCHEMA => serde_json::from_slice(&bytes).map_err(wrong),
            other => Err(self.is_wrong(&format!("its schema is {other}, and {SCHEMA} is what this version reads"))),
        }
    }

    fn write(&self, contents: &Contents) -> Result<(), Error> {
        let refused =
            |error: std::io::Error| Error::State(format!("{} cannot be written: {error}", self.path.display()));
        let mut text = serde_json::to_string_pretty(contents).map_err(|error| self.is_wrong(&error))?;
        text.push('\n');
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        let beside = self.path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.path)).map_err(|error| {
            // What is half written is of no use; where it cannot be removed either, it is in nobody's way.
            let _ = std::fs::remove_file(&beside);
            refused(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in a folder that is not there yet, for one test.
    struct Scratch(TuningFile);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("batchnorm-{name}-{}", std::process::id()));
            Self(TuningFile::at(folder.join("below").join("tuning.json")))
        }

        fn holding(name: &str, text: &str) -> Self {
            let scratch = Self::new(name);
            std::fs::create_dir_all(scratch.0.path.parent().unwrap()).unwrap();
            std::fs::write(&scratch.0.path, text).unwrap();
            scratch
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let folder = self.0.path.parent().and_then(Path::parent).unwrap();
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    fn adapter(name: &str, driver_info: &str) -> wgpu::AdapterInfo {
        let info = wgpu::AdapterInfo::new(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Vulkan);
        wgpu::AdapterInfo { name: name.to_owned(), driver_info: driver_info.to_owned(), ..info }
    }

    fn tuning(lanes: u32) -> Tuning {
        Tuning { reduce_lanes: lanes, ..Tuning::for_device(&DeviceFacts::FLOOR) }
    }

    #[test]
    fn a_tuning_comes_back_for_its_adapter_and_driver_alone() {
        let scratch = Scratch::new("kept");
        let file = &scratch.0;
        let (one, other, newer) = (adapter("one", "1.0"), adapter("other", "1.0"), adapter("one", "1.1"));
        assert_eq!((file.load(&one), file.is_stale(&one), file.forget(&one)), (Ok(None), Ok(false), Ok(false)));
        file.save(&one, &tuning(32)).unwrap();
        file.save(&other, &tuning(64)).unwrap();
        file.save(&one, &tuning(128)).unwrap();
        assert_eq!((file.load(&one), file.load(&other)), (Ok(Some(tuning(128))), Ok(Some(tuning(64)))));
        // A newer driver is measured anew, and then replaces the older.
        assert_eq!((file.load(&newer), file.is_stale(&newer)), (Ok(None), Ok(true)));
        file.save(&newer, &tuning(16)).unwrap();
        assert_eq!((file.load(&one), file.load(&newer)), (Ok(None), Ok(Some(tuning(16)))));
        assert_eq!((file.forget(&one), file.load(&newer)), (Ok(true), Ok(None)));
        assert_eq!(file.load(&other), Ok(Some(tuning(64))));
        let names: Vec<_> = std::fs::read_dir(file.path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn what_another_version_measured_is_stale_and_no_error() {
        let one = adapter("one", "1.0");
        type Spoil = fn(&mut serde_json::Map<String, Value>);
        let cases: [(&str, Spoil); 3] = [
            ("version", |entry| drop(entry.insert("version".into(), "0.0.1".into()))),
            ("lacking", |entry| drop(entry["tuning"].as_object_mut().unwrap().remove("apply_quads"))),
            ("more", |entry| drop(entry["tuning"].as_object_mut().unwrap().insert("new".into(), 1.into()))),
        ];
        for (name, spoil) in cases {
            let scratch = Scratch::new(name);
            let file = &scratch.0;
            file.save(&one, &tuning(32)).unwrap();
            let mut contents: Value = serde_json::from_slice(&std::fs::read(&file.path).unwrap()).unwrap();
            spoil(contents["tunings"][0].as_object_mut().unwrap());
            std::fs::write(&file.path, contents.to_string()).unwrap();
            assert_eq!((file.load(&one), file.is_stale(&one)), (Ok(None), Ok(true)), "{name}");
            file.save(&one, &tuning(16)).unwrap();
            assert_eq!(file.load(&one), Ok(Some(tuning(16))), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_not_right_is_refused_by_name_and_left_alone() {
        let one = adapter("one", "1.0");
        let scratch = Scratch::new("whole");
        scratch.0.save(&one, &tuning(32)).unwrap();
        let whole = std::fs::read_to_string(&scratch.0.path).unwrap();
        for (name, text, says) in [
            ("empty", String::new(), "EOF"),
            ("cut", whole[..whole.len() / 2].to_owned(), "EOF"),
            ("schema", whole.replace("\"schema\": 1", "\"schema\": 2"), "its schema is 2"),
            ("field", whole.replace("\"driver\"", "\"driven\""), "`driven`"),
            ("negative", whole.replace(": 32", ": -32"), "-32"),
            ("text", whole.replace(": 32", ": \"32\""), "string"),
        ] {
            let scratch = Scratch::holding(name, &text);
            for refused in [scratch.0.load(&one).map(|_| ()), scratch.0.load(&one).map(|_| ())] {
                let Err(Error::State(sentence)) = refused else { panic!("{name}: {refused:?}") };
                let path = scratch.0.path.display().to_string();
                assert!(sentence.contains(says) && sentence.contains(&path), "{name}: {sentence}");
            }
            // Where a single entry is wrong, measuring anew replaces it; the rest is not to be lost.
            if !["negative", "text"].contains(&name) {
                assert!(scratch.0.save(&one, &tuning(16)).is_err() && scratch.0.forget(&one).is_err(), "{name}");
                assert_eq!(std::fs::read_to_string(&scratch.0.path).unwrap(), text, "{name}");
            }
        }
        assert!(matches!(TuningFile::at(std::env::temp_dir()).load(&one), Err(Error::State(_))));
    }
}
