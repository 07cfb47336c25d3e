//! The program as a user meets it: what it prints, writes and returns. Most of it needs no adapter.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use wgpu_batchnorm::host::{State, files};
use wgpu_batchnorm::plan::{DeviceFacts, Tuning};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data");
const CONFORMANCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

/// Runs the program where it finds no adapter, whatever the machine has.
fn without_adapter(arguments: &[&str]) -> Output {
    program().env("WGPU_BACKEND", "noop").args(arguments).output().unwrap()
}

/// The program under the built-in tunings, whatever this user has measured.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_batchnorm"));
    program.env("BATCHNORM_TUNING", "none");
    // EGL tells on stderr where it lacks one.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        program.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    program
}

/// Whether this machine has an adapter; the GPU suite is what fails where it has none.
fn has_adapter() -> bool {
    let found = program().args(["adapters", "--quiet"]).output().unwrap().status.success();
    if !found {
        eprintln!("no adapter here: nothing is tested");
    }
    found
}

#[track_caller]
fn succeeds(output: Output) -> String {
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{:?}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// The one sentence on stderr of a command that ends with this status.
#[track_caller]
fn fails(output: Output, status: i32) -> String {
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(status), "{stdout}\n{stderr}");
    let sentences: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(sentences.len(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    sentences[0].to_owned()
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn data(name: &str) -> String {
    format!("{DATA}/{name}")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A folder of its own for each test, and paths in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn holding(&self, name: &str, contents: &[u8]) -> String {
        std::fs::write(self.path(name), contents).unwrap();
        self.text(name)
    }
}

#[test]
fn help_teaches_with_examples() {
    for command in [&[][..], &["adapters"], &["explain"], &["run"], &["check"], &["bench"], &["compare"], &["tune"]] {
        let text = succeeds(without_adapter(&[command, &["--help"]].concat()));
        assert!(text.contains("Examples:\n  batchnorm "), "{command:?}\n{text}");
    }
    assert!(succeeds(without_adapter(&["--version"])).starts_with("batchnorm "));
}

#[test]
fn a_wrong_command_line_is_one_sentence_and_status_2() {
    let digits = data("digits.csv.gz");
    let photos = data("photos_nhwc.npy");
    for (arguments, says) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["run"], "<FILE>"),
        (&["run", &digits, "--modee", "train"], "'--mode'"),
        (&["run", &digits, "--columns", "0..66"], "columns 0..65"),
        (&["run", &photos, "--columns", "0..2"], "[2, 160, 240, 3]"),
        (&["run", &photos, "--axis", "4"], "--axis takes 0 to 3"),
        (&["run", &photos, "--axis", "-5"], "axis -5 is out of range"),
        (&["run", &photos, "--mode", "inference"], "--state"),
        (&["run", &photos, "--layer", "x"], "--state"),
        (&["run", &photos, "--epsilon", "-1"], "`epsilon` is -1"),
        (&["run", &photos, "--momentum", "much"], "much"),
        (&["run", &photos, "--out", "y.csv"], ".npy"),
        (&["run", "notes.txt"], "of no kind that is read"),
        (&["run", &data("crepe_tiny_state.safetensors")], "name one"),
        (&["explain", "--shape", "3,x"], "`x`"),
        (&["explain", "--shape", "3,0"], "0 channels"),
        (&["bench", "--shapes", "0,3"], "empty"),
        (&["check", "--device", "cpu"], "--cases"),
    ] {
        let sentence = fails(without_adapter(arguments), 2);
        assert!(sentence.contains(says), "{arguments:?}: {sentence}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let word = std::ffi::OsStr::from_bytes(b"\xff");
        fails(program().arg(word).output().unwrap(), 2);
    }
}

#[test]
fn a_file_that_is_not_right_is_named_with_status_1() {
    let folder = Folder::new();
    let photos = std::fs::read(data("photos_nhwc.npy")).unwrap();
    let state = std::fs::read(data("crepe_tiny_state.safetensors")).unwrap();
    let digits = std::fs::read(data("digits.csv.gz")).unwrap();
    for (name, contents, says) in [
        ("header.npy", &photos[..40], "cut short"),
        ("body.npy", &photos[..5000], "[2, 160, 240, 3] of f32 are 921600 bytes"),
        ("none.npy", &b"PK"[..], "not an .npy file"),
        ("cut.csv.gz", &digits[..5000], "cannot be unpacked"),
        ("ragged.csv", b"1,2\n3\n", "line 2 has 1 columns"),
        ("words.csv", b"1,2\n3,x\n", "line 2, column 1"),
        ("empty.csv", b"", "no row of numbers"),
        ("cut.safetensors", &state[..1000], "not a whole .safetensors file"),
    ] {
        let path = folder.holding(name, contents);
        let sentence = fails(without_adapter(&["run", &path, "--device", "cpu"]), 1);
        assert!(sentence.contains(says) && sentence.contains(name), "{sentence}");
    }
    let input = format!("{}:conv1_BN.input", data("crepe_tiny_activations.safetensors"));
    let layer = |state: &str, layer: &str| {
        let mode = ["run", &input, "--mode", "infer", "--state", state, "--layer", layer];
        fails(without_adapter(&mode), 1)
    };
    assert!(layer(&folder.text("cut.safetensors"), "conv1_BN").contains("not a whole"));
    assert!(layer(&data("crepe_tiny_state.safetensors"), "conv9").contains("conv1_BN, conv2_BN"));
    assert!(layer(&data("crepe_tiny_state.safetensors"), "conv3_BN").contains("16 channels"));
    assert!(fails(without_adapter(&["run", "absent.npy"]), 1).contains("absent.npy"));
    let nowhere = folder.text("absent/y.npy");
    let photos = data("photos_nhwc.npy");
    assert!(fails(without_adapter(&["run", &photos, "--out", &nowhere]), 1).contains("there is no folder"));
}

#[test]
fn explain_tells_the_formula_and_the_plan_without_an_adapter() {
    let folder = Folder::new();
    let file = folder.text("plan.json");
    let shape = ["explain", "--shape", "32,100,200,30", "--axis", "3", "--json", &file];
    let text = succeeds(without_adapter(&shape));
    for part in ["axes 0, 1 and 2", "m = 32 · 100 · 200 = 640000", "= 120, of which 60 trained", "no adapter here"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    for kernel in ["moments_partial", "moments_merge", "scale_shift", "running_update", "backward_input"] {
        assert!(text.contains(kernel), "{kernel} is not in\n{text}");
    }
    let plan = json(&folder.path("plan.json"));
    assert_eq!((&plan["parameters"], &plan["trained_parameters"]), (&120.into(), &60.into()));
    assert_eq!(plan["operations"].as_array().unwrap().len(), 3);
    // 77 million elements are more than one binding holds.
    let windows = succeeds(without_adapter(&["explain", "--shape", "96,256,56,56"]));
    assert!(windows.contains("in windows of at most"), "{windows}");
}

#[test]
fn the_layers_of_a_published_network_come_to_the_values_in_their_file() {
    let folder = Folder::new();
    for layer in ["conv1_BN", "conv3_BN", "conv6_BN"] {
        let activations = data("crepe_tiny_activations.safetensors");
        let (input, expected) = (format!("{activations}:{layer}.input"), format!("{activations}:{layer}.expected"));
        let (state, out) = (data("crepe_tiny_state.safetensors"), folder.text("y.npy"));
        let figures = folder.text("figures.json");
        let arguments = [
            &["run", &input, "--mode", "inference", "--state", &state, "--layer", layer][..],
            &["--epsilon", "0.0010000000474974513", "--expected", &expected, "--out", &out, "--json", &figures],
        ]
        .concat();
        let mut devices = vec!["cpu"];
        if has_adapter() {
            devices.push("gpu");
        }
        for device in devices {
            let text = succeeds(program().args(&arguments).args(["--device", device]).output().unwrap());
            assert_eq!(text.matches("within the bounds").count(), 2, "{text}");
            let figures = json(&folder.path("figures.json"));
            assert!(figures["worst"].as_array().unwrap().iter().all(|worst| worst["passed"] == true));
            // Beside what the program says of itself: the two files, element by element.
            let y = files::read_npy(&std::fs::read(&out).unwrap()).unwrap().values;
            let expected = files::read_safetensors(&std::fs::read(&activations).unwrap(), &format!("{layer}.expected"));
            for (got, expected) in y.iter().zip(&expected.unwrap().values) {
                assert!((got - expected).abs() <= 2e-6 * expected.abs().max(1.0), "{layer}: {got} {expected}");
            }
        }
    }
}

#[test]
fn tables_and_images_are_normalised() {
    let folder = Folder::new();
    let (photos, digits) = (data("photos_nhwc.npy"), data("digits.csv.gz"));
    let mut devices = vec!["cpu"];
    if has_adapter() {
        devices.push("gpu");
    }
    for device in devices {
        let out = folder.text("y.npy");
        let arguments = ["run", &photos, "--axis", "3", "--out", &out, "--device", device];
        let text = succeeds(program().args(arguments).output().unwrap());
        assert!(text.contains("3 channels of 76800 values"), "{text}");
        let y = files::read_npy(&std::fs::read(&out).unwrap()).unwrap().values;
        assert_eq!(y.shape(), [2, 160, 240, 3]);
        for channel in y.axis_iter(ndarray::Axis(3)) {
            let count = channel.len() as f64;
            let mean = channel.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
            let variance = channel.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        }
        let arguments = ["run", &digits, "--columns", "0..64", "--device", device];
        let text = succeeds(program().args(arguments).output().unwrap());
        assert!(text.contains("64 channels of 1797 values") && text.contains("within the bounds"), "{text}");
    }
}

#[test]
fn a_training_step_is_written_into_the_state() {
    let folder = Folder::new();
    let input = folder.holding("x.csv", b"1,10\n3,30\n");
    let state = State {
        gamma: Some(vec![1.0, 2.0]),
        beta: Some(vec![0.0, 1.0]),
        running_mean: Some(vec![0.0, 10.0]),
        running_variance: Some(vec![1.0, 100.0]),
        batches: Some(4),
    };
    let before = folder.holding("before.safetensors", &state.write(Some("bn"), None).unwrap());
    let after = folder.text("after.safetensors");
    // Means 2 and 20, population variances 1 and 100, unbiased ones 2 and 200.
    let cases = [
        (&["--momentum", "0.5"][..], [1.0, 15.0], [1.5, 150.0]),
        (&["--momentum", "cumulative"], [0.4, 12.0], [1.2, 120.0]),
        (&["--convention", "onnx", "--momentum", "0.75"], [0.5, 12.5], [1.0, 100.0]),
    ];
    let mut devices = vec!["cpu"];
    if has_adapter() {
        devices.push("gpu");
    }
    for device in devices {
        for (settings, mean, variance) in cases {
            let files = ["run", &input, "--state", &before, "--state-out", &after, "--device", device];
            let text = succeeds(program().args(files).args(settings).output().unwrap());
            assert!(text.contains("running mean"), "{text}");
            let after = State::read(&std::fs::read(&after).unwrap(), Some("bn")).unwrap();
            assert_eq!((after.batches, &after.gamma), (Some(5), &state.gamma));
            let near = |got: Option<Vec<f32>>, expected: [f32; 2]| {
                let got = got.unwrap();
                assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() <= 1e-5 * e), "{got:?} {expected:?}");
            };
            near(after.running_mean, mean);
            near(after.running_variance, variance);
        }
    }
    // One value per channel has no unbiased variance; nothing is written then.
    let one = folder.holding("one.csv", b"1,10\n");
    let untouched = folder.text("untouched.safetensors");
    let arguments = ["run", &one, "--state", &before, "--state-out", &untouched, "--device", "cpu"];
    assert!(fails(without_adapter(&arguments), 1).contains("--convention keras"));
    assert!(!folder.path("untouched.safetensors").exists());
}

fn npy(values: &[f32]) -> Vec<u8> {
    files::write_npy(ndarray::ArrayView2::from_shape((values.len() / 2, 2), values).unwrap().into_dyn()).unwrap()
}

#[test]
fn values_that_are_not_finite_are_told_and_never_become_a_state() {
    let folder = Folder::new();
    let spoiled = folder.holding("nan.npy", &npy(&[1.0, 2.0, f32::NAN, 4.0, 5.0, 7.0]));
    let large = folder.holding("large.npy", &npy(&[1e6, 1.0, -1e6, 2.0, 2e6, 3.0]));
    let run = |arguments: &[&str]| without_adapter(&[&["run"], arguments, &["--device", "cpu", "--quiet"]].concat());
    let told = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
        texts(&output).1
    };
    let note = told(&[&spoiled]);
    assert!(note.contains("3 of 6 values of the output are not finite, in channel 0; the input has 1"), "{note}");
    let note = told(&[&large, "--dtype", "f16"]);
    assert!(note.contains("in channel 0; 3 of the input are beyond the storage type"), "{note}");
    assert_eq!(told(&[&large]), "");
    let state = folder.text("state.safetensors");
    let (output, figures) = (folder.text("y.npy"), folder.text("figures.json"));
    let files = ["--state-out", &state, "--out", &output, "--json", &figures];
    let refused = run(&[&[spoiled.as_str()], &files[..]].concat());
    assert!(texts(&refused).1.contains("in channel 0; the input has 1"), "the cause is told, too");
    assert!(fails(refused, 1).contains("running_mean[0] would be NaN, so neither output nor state was written"));
    assert!(!folder.path("y.npy").exists() && folder.path("figures.json").exists());
    assert!(!folder.path("state.safetensors").exists());
    let negative = State { running_variance: Some(vec![1.0, -1.0]), ..State::new(2) };
    let negative = folder.holding("negative.safetensors", &negative.write(None, None).unwrap());
    let refused = fails(run(&[&large, "--mode", "eval", "--state", &negative]), 1);
    assert!(refused.contains("running_var[1] is -1"), "{refused}");
    // Parameters alone have nothing that a momentum would weigh.
    let parameters = State { running_mean: None, running_variance: None, batches: None, ..State::new(2) };
    let parameters = folder.holding("parameters.safetensors", &parameters.write(None, None).unwrap());
    assert!(fails(run(&[&large, "--state", &parameters, "--momentum", "0.5"]), 2).contains("none follow here"));
    // Squares of deviations beyond f32 are the cause that is told, and a large mean is not.
    let huge = folder.holding("huge.npy", &npy(&[1e20, 1.0, -1e20, 2.0, 2e20, 3.0]));
    let refused = fails(run(&[&huge]), 1);
    assert!(refused.contains("channel 0 sum up to more than f32 holds"), "{refused}");
}

#[test]
fn a_state_keeps_what_its_file_tells_of_itself() {
    let folder = Folder::new();
    let told = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weight = 1f32.to_le_bytes().repeat(2);
    let view = |name| (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &weight).unwrap());
    let views = ["weight", "bias", "running_mean", "running_var"].map(view);
    let state = folder.holding("state.safetensors", &safetensors::serialize(views, Some(told.clone())).unwrap());
    let input = folder.holding("x.npy", &npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]));
    succeeds(without_adapter(&["run", &input, "--device", "cpu", "--state", &state, "--state-out", &state]));
    let file = std::fs::read(&state).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(metadata.metadata().as_ref(), Some(&told));
}

#[cfg(unix)]
#[test]
fn files_are_written_through_links_and_pipes_and_to_stdout() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    let input = folder.holding("x.npy", &npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]));
    let real = folder.holding("real.npy", b"old");
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o664)).unwrap();
    symlink("real.npy", folder.path("link.npy")).unwrap();
    let run =
        |arguments: &[&str]| without_adapter(&[&["run", &input, "--device", "cpu", "--quiet"], arguments].concat());
    succeeds(run(&["--out", &folder.text("link.npy")]));
    assert!(folder.path("link.npy").is_symlink());
    assert!(files::read_npy(&std::fs::read(&real).unwrap()).is_ok(), "the file behind the link is the new one");
    assert_eq!(folder.path("real.npy").metadata().unwrap().permissions().mode() & 0o777, 0o664);
    // A link to what is not there yet stays one, and its target comes to be.
    symlink("later.npy", folder.path("ahead.npy")).unwrap();
    succeeds(run(&["--out", &folder.text("ahead.npy")]));
    assert!(folder.path("ahead.npy").is_symlink() && folder.path("later.npy").is_file());
    let printed = succeeds(run(&["--json", "-"]));
    let figures: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(figures["channels"].as_array().unwrap().len(), 2);
    // A pipe is written into, not replaced; this one nobody could replace.
    if cfg!(target_os = "linux") {
        assert_eq!(succeeds(run(&["--json", "/proc/self/fd/1"])), printed);
        // Whatever it is called.
        assert!(files::read_npy(&run(&["--out", "/proc/self/fd/1"]).stdout).is_ok());
        // What an open file holds already, stays.
        let open = folder.holding("open.json", b"before\n");
        let stdout = std::fs::OpenOptions::new().append(true).open(&open).unwrap();
        let mut command = program();
        command.args(["run", &input, "--device", "cpu", "--quiet", "--json", "/proc/self/fd/1"]);
        assert!(command.env("WGPU_BACKEND", "noop").stdout(stdout).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(&open).unwrap(), format!("before\n{printed}"));
    }
}

#[test]
fn what_goes_to_stdout_goes_there_alone() {
    let folder = Folder::new();
    let input = folder.holding("x.npy", &npy(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0]));
    for arguments in [
        &["run", &input, "--device", "cpu", "--json", "-"][..],
        &["check", "--cases", CONFORMANCE, "--device", "cpu", "--json", "-"],
        &["explain", "--shape", "2,3,4", "--json", "-"],
    ] {
        let (stdout, stderr) = texts(&without_adapter(arguments));
        assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{arguments:?}: {stdout}");
        assert!(!stderr.is_empty(), "{arguments:?}: what is told goes to stderr");
    }
    let two = without_adapter(&["run", &input, "--device", "cpu", "--json", "-", "--out", "-"]);
    assert!(fails(two, 2).contains("name a file"));
}

#[test]
fn without_an_adapter_the_cpu_works_and_says_so() {
    let output = without_adapter(&["run", &data("digits.csv.gz"), "--columns", "0..64"]);
    let (_, stderr) = texts(&output);
    assert!(succeeds(output).contains("CPU (f32, SIMD)"));
    assert!(stderr.contains("working on the CPU") && stderr.contains("apt-get install"), "{stderr}");
    for arguments in [&["adapters"][..], &["check"], &["check", "--cases", CONFORMANCE], &["bench", "--adapter", "gl"]]
    {
        assert!(fails(without_adapter(arguments), 1).contains("apt-get install"), "{arguments:?}");
    }
}

#[test]
fn conformance_cases_pass_on_the_cpu_and_a_wrong_one_is_told() {
    let text = succeeds(without_adapter(&["check", "--cases", CONFORMANCE, "--device", "cpu"]));
    assert_eq!(text.lines().last(), Some("56 passed, 0 failed"));
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 56);

    let folder = Folder::new();
    for entry in std::fs::read_dir(CONFORMANCE).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path(entry.file_name().to_str().unwrap())).unwrap();
    }
    let list = std::fs::read_to_string(folder.path("cases.json")).unwrap();
    let mut cases: Value = serde_json::from_str(&list).unwrap();
    let tolerance = cases[0]["tolerance_by_tensor"].as_object_mut().unwrap();
    for (_, tolerance) in tolerance.iter_mut() {
        *tolerance = serde_json::json!({ "abs": 0.0, "rel": 0.0 });
    }
    folder.holding("cases.json", cases.to_string().as_bytes());
    let cases = folder.0.path().to_str().unwrap();
    let output = without_adapter(&["check", "--cases", cases, "--device", "cpu", "--quiet"]);
    let (stdout, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert!(lines[0].starts_with("FAILED ") && lines[0].contains("]: got ") && lines[0].contains("expected "));
    assert_eq!(lines[1], "55 passed, 1 failed");
}

#[test]
fn a_short_sweep_passes_on_an_adapter() {
    if has_adapter() {
        let arguments = ["check", "--adapter", "0", "--count", "12", "--seed", "41"];
        let text = succeeds(program().args(arguments).output().unwrap());
        assert_eq!(text.lines().last(), Some("12 passed, 0 failed"), "{text}");
    }
}

/// The fields of a result that a reader of the file counts on.
fn check_times(result: &Value, names: &[&str]) {
    for name in names {
        let time = &result[name];
        let of = |field: &str| time[field].as_f64().unwrap_or_else(|| panic!("{name}.{field} in {result}"));
        assert!(0.0 < of("low") && of("low") <= of("median") && of("median") <= of("high"), "{name} in {result}");
    }
}

#[test]
fn bench_writes_its_figures() {
    let folder = Folder::new();
    let file = folder.text("bench.json");
    let arguments = ["bench", "--shapes", "2,8,7,7;4,6,5@2", "--rounds", "2", "--json", &file];
    succeeds(without_adapter(&arguments));
    let report = json(&folder.path("bench.json"));
    assert_eq!((&report["schema"], &report["device"]["name"]), (&1.into(), &"CPU".into()));
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        check_times(result, &["cpu_ms"]);
        assert!(result["gpu_ms"].is_null() && result["worst_error"].as_f64() <= result["bound"].as_f64());
    }
    assert_eq!((&results[3]["shape"], &results[3]["axis"]), (&serde_json::json!([4, 6, 5]), &2.into()));

    if has_adapter() {
        let text = succeeds(program().args(arguments).output().unwrap());
        assert!(text.contains("driver's copy"), "{text}");
        let report = json(&folder.path("bench.json"));
        for field in ["name", "backend", "type", "driver"] {
            assert!(report["device"][field].is_string(), "{report}");
        }
        assert!(["timestamps", "wall"].contains(&report["timing"].as_str().unwrap()));
        assert!(report["threads"].as_u64() > Some(0) && report["version"].is_string());
        let results = report["results"].as_array().unwrap();
        assert_eq!(results.len(), 6);
        for (result, operation) in results.iter().zip(["inference", "training", "backward"].iter().cycle()) {
            assert_eq!((&result["operation"], &result["dtype"]), (&(*operation).into(), &"f32".into()));
            check_times(result, &["gpu_ms", "copy_ms", "end_to_end_ms", "cpu_ms"]);
            let ratio = result["gpu_ms"]["median"].as_f64().unwrap() / result["copy_ms"]["median"].as_f64().unwrap();
            assert!((result["ratio_to_copy"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9);
            assert!(result["strategy"].is_string() && result["cpu_implementation"].is_string());
            assert!(result["bytes_moved"].as_u64() > Some(0));
            assert!(result["worst_error"].as_f64() <= result["bound"].as_f64());
        }
    }
}

/// A file of figures as `bench` writes them: one operation on one shape, with these quartiles in ms.
fn figures(shape: &[usize], [low, median, high]: [f64; 3]) -> Value {
    let time =
        |factor: f64| serde_json::json!({ "median": factor * median, "low": factor * low, "high": factor * high });
    serde_json::json!({
        "shape": shape, "axis": 1, "operation": "training", "dtype": "f32", "strategy": "along planes",
        "bytes_moved": 1000, "gpu_ms": time(1.0), "copy_ms": time(0.5), "ratio_to_copy": 2.0, "end_to_end_ms": time(3.0),
        "cpu_ms": time(2.0), "cpu_implementation": "cpu", "worst_tensor": "y", "worst_error": 1e-7, "bound": 1e-6,
    })
}

fn report(results: &[Value]) -> Vec<u8> {
    let device = serde_json::json!({ "name": "some GPU", "backend": "vulkan", "type": "discrete", "driver": "1.0" });
    let report = serde_json::json!({
        "schema": 1, "version": "0.1.0", "device": device, "timing": "timestamps", "threads": 8, "results": results,
    });
    report.to_string().into_bytes()
}

#[test]
fn figures_are_compared_and_what_is_slower_is_marked_and_fails_where_asked() {
    let folder = Folder::new();
    let [small, middle, large] = [[2, 8, 7, 7], [4, 16, 7, 7], [8, 64, 7, 7]];
    let tight = |median: f64| [0.99 * median, median, 1.01 * median];
    let before = [figures(&small, tight(1.0)), figures(&middle, tight(2.0)), figures(&large, tight(4.0))];
    let before = folder.holding("before.json", &report(&before));
    let after = [figures(&small, tight(1.05)), figures(&middle, tight(2.4)), figures(&large, [3.0, 4.6, 5.0])];
    let after = folder.holding("after.json", &report(&after));

    let text = succeeds(without_adapter(&["compare", &before, &after]));
    let row =
        |shape: &str| text.lines().find(|line| line.contains(shape)).unwrap_or_else(|| panic!("{text}")).trim_end();
    assert!(row("2, 8, 7, 7").contains("1.05 (1.03–1.07)") && !row("2, 8, 7, 7").contains("slower"), "{text}");
    assert!(row("4, 16, 7, 7").contains("1.20 (1.18–1.22)") && row("4, 16, 7, 7").ends_with(" slower"), "{text}");
    assert!(row("8, 64, 7, 7").contains("1.15") && row("8, 64, 7, 7").ends_with(" slower?"), "{text}");
    assert!(text.contains("some GPU (vulkan)") && text.contains("3 compared: 1.13 ×"), "{text}");

    let out = folder.text("ratios.json");
    for (limit, status) in [("1.10", 1), ("1.25", 0)] {
        let output = without_adapter(&["compare", &before, &after, "--fail-above", limit, "--json", &out]);
        assert_eq!(output.status.code(), Some(status), "{}", texts(&output).0);
    }
    let ratio = &json(&folder.path("ratios.json"))["rows"][1]["others"][0]["ratio"]["median"];
    assert!((ratio.as_f64().unwrap() - 1.2).abs() < 1e-12);
    assert_eq!(without_adapter(&["compare", &after, &before, "--fail-above", "1.10"]).status.code(), Some(0));

    // Three files, one of which lacks a shape; and another of the figures.
    let fewer = folder.holding("fewer.json", &report(&[figures(&middle, tight(2.0))]));
    let gate = without_adapter(&["compare", &before, &fewer, "--fail-above", "1.10", "--quiet"]);
    assert_eq!(gate.status.code(), Some(1), "what is missing passes no gate");
    assert!(texts(&gate).0.contains("2 absent that A has"), "{}", texts(&gate).0);
    assert!(succeeds(without_adapter(&["compare", &fewer, &before])).contains("2 that A has not"));
    let text = succeeds(without_adapter(&["compare", &before, &after, &fewer, "--by", "copies"]));
    assert!(text.contains("C / A") && text.contains("absent"), "{text}");

    let (other, none) = (folder.holding("other.json", b"{}"), folder.holding("none.json", &report(&[])));
    assert!(fails(without_adapter(&["compare", &before, &none]), 1).contains("no shape in common"));
    assert!(fails(without_adapter(&["compare", &before, &other]), 1).contains("not figures"));
    assert!(fails(without_adapter(&["compare", &before, "absent.json"]), 1).contains("absent.json"));
    fails(without_adapter(&["compare", &before]), 2);
    fails(without_adapter(&["compare", &before, &after, "--fail-above", "0.9"]), 2);
}

/// The figures that a page carries, which must be the file's; the page must need nothing from elsewhere.
#[track_caller]
fn figures_of(page: &str) -> Value {
    for word in ["http://", "https://", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(word), "{word} in a page that must stand alone");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    let (_, rest) = page.split_once(r#"<script type="application/json" id="figures">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn check_writes_its_matrix_as_a_page() {
    let folder = Folder::new();
    let (page, file) = (folder.text("check.html"), folder.text("check.json"));
    let arguments = ["check", "--cases", CONFORMANCE, "--device", "cpu", "--html", &page, "--json", &file];
    succeeds(without_adapter(&arguments));
    let page = std::fs::read_to_string(&page).unwrap();
    assert_eq!(figures_of(&page), json(&folder.path("check.json")));
    assert!(page.contains("56 passed, 0 failed") && page.contains("frozen backward"), "{page}");
    let cells = figures_of(&page)["devices"][0]["matrix"].as_array().unwrap().clone();
    assert_eq!(cells.iter().map(|cell| cell["cases"].as_u64().unwrap()).sum::<u64>(), 56);
    assert!(cells.iter().all(|cell| cell["wrong"] == 0 && cell["worst_share"].as_f64() <= Some(1.0)));
}

#[test]
fn bench_writes_a_report_that_stands_alone_with_the_figures_of_the_file() {
    let folder = Folder::new();
    let (page, file) = (folder.text("bench.html"), folder.text("bench.json"));
    let arguments = ["bench", "--quick", "--rounds", "1", "--html", &page, "--json", &file];
    let sections = ["Correctness", "Throughput by size", "overtakes the CPU", "Where the time goes", "Plans, and why"];
    if has_adapter() {
        succeeds(program().args(arguments).output().unwrap());
        let page = std::fs::read_to_string(&page).unwrap();
        let figures = figures_of(&page);
        assert_eq!(figures, json(&folder.path("bench.json")));
        for part in
            sections.iter().chain(&["role=\"img\"", "<desc", "24 of 24 random cases are right", "moments_partial"])
        {
            assert!(page.contains(part), "{part} is not in the report");
        }
        assert_eq!(figures["by_size"].as_array().unwrap().len(), 18);
        for result in figures["results"].as_array().unwrap() {
            check_times(result, &["upload_ms", "download_ms"]);
            let shown = result["gpu_ms"]["median"].as_f64().unwrap();
            assert!(page.contains(&format!("<td>{}<small>", three_digits(shown))), "{shown} is not in the report");
        }
        // What is compared with itself is the same.
        let text = succeeds(without_adapter(&["compare", &file, &file, "--fail-above", "1.01"]));
        assert!(text.contains("9 compared: 1.00 ×"), "{text}");
    }
    succeeds(without_adapter(&arguments));
    let page = std::fs::read_to_string(&page).unwrap();
    assert_eq!(figures_of(&page), json(&folder.path("bench.json")));
    assert!(sections.iter().all(|part| page.contains(part)) && page.contains("there is no adapter here"));
}

/// A time as tables and pages write it.
fn three_digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Files of a folder, by name.
fn names(folder: &Folder) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.0.path()).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn what_is_stopped_in_the_middle_leaves_no_file_and_no_half_of_one() {
    let folder = Folder::new();
    let (page, file) = (folder.text("bench.html"), folder.text("bench.json"));
    let old = folder.holding("bench.json", b"what was there before");
    let mut bench = program();
    bench.env("WGPU_BACKEND", "noop").args(["bench", "--rounds", "200", "--html", &page, "--json", &file, "--quiet"]);
    let mut running = bench.stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(running.try_wait().unwrap().is_none(), "it should still have been measuring");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(names(&folder), ["bench.json"]);
    assert_eq!(std::fs::read(&old).unwrap(), b"what was there before");
}

#[test]
fn a_pipe_sees_no_progress_and_quiet_leaves_only_what_matters() {
    let arguments = ["check", "--cases", CONFORMANCE, "--device", "cpu", "--quiet"];
    let output = without_adapter(&arguments);
    assert_eq!(texts(&output), ("56 passed, 0 failed\n".to_owned(), String::new()));
    let output = without_adapter(&["bench", "--shapes", "2,8,7,7", "--rounds", "1", "--device", "cpu"]);
    let (stdout, stderr) = texts(&output);
    assert!(!stdout.contains('\r') && !stdout.contains('\u{1b}') && stderr.is_empty(), "{stdout}\n{stderr}");
    let quiet = without_adapter(&["bench", "--shapes", "2,8,7,7", "--rounds", "1", "--device", "cpu", "--quiet"]);
    assert_eq!(texts(&quiet), (String::new(), String::new()));
}

/// A file of tunings with one for an adapter as `adapters --json` tells of it.
fn tunings(adapter: &Value, version: &str) -> Vec<u8> {
    let entry = serde_json::json!({
        "adapter": adapter["name"], "backend": adapter["backend"], "driver": adapter["driver"],
        "driver_info": adapter["driver_info"], "version": version,
        "tuning": Tuning { reduce_workgroups: 3, ..Tuning::for_device(&DeviceFacts::SOFTWARE) },
    });
    serde_json::json!({ "schema": 1, "tunings": [entry] }).to_string().into_bytes()
}

#[test]
fn a_kept_tuning_is_in_force_and_told_and_forgotten() {
    if !has_adapter() {
        return;
    }
    let folder = Folder::new();
    let (list, file) = (folder.text("adapters.json"), folder.text("tuning.json"));
    let under = |arguments: &[&str]| program().env("BATCHNORM_TUNING", &file).args(arguments).output().unwrap();
    let adapters = ["adapters", "--json", &list];
    let explain = ["explain", "--shape", "8,4", "--adapter", "0"];
    assert!(!succeeds(under(&adapters)).contains("tun"), "there is no file yet");
    let adapter = json(&folder.path("adapters.json"))[0].clone();
    assert!(succeeds(under(&explain)).contains("tuning: the built-in table"));

    folder.holding("tuning.json", &tunings(&adapter, env!("CARGO_PKG_VERSION")));
    assert!(succeeds(under(&adapters)).contains("Adapter 0 runs under a measured tuning: "));
    assert_eq!(json(&folder.path("adapters.json"))[0]["measured_tuning"], file.as_str());
    assert!(succeeds(under(&explain)).contains(&format!("tuning: measured, from {file}")));
    let text = succeeds(under(&["check", "--adapter", "0", "--count", "6"]));
    assert!(text.contains(", measured tuning: seeds 0 to 5: 6 right"), "{text}");
    assert!(!succeeds(program().args(explain).output().unwrap()).contains("measured"), "`none` reads no file");

    folder.holding("tuning.json", &tunings(&adapter, "0.0.0"));
    assert!(succeeds(under(&adapters)).contains("Adapter 0 was tuned with another version"));
    assert!(succeeds(under(&explain)).contains("tuning: the built-in table"));

    let reset = ["tune", "--reset", "--adapter", "0"];
    assert!(succeeds(under(&reset)).contains("forgotten"));
    assert!(succeeds(under(&reset)).contains("nothing was kept"));

    folder.holding("tuning.json", b"{ \"schema\": 1 }");
    for arguments in [&explain[..], &adapters, &reset, &["tune", "--adapter", "0"]] {
        let sentence = fails(under(arguments), 1);
        assert!(sentence.contains(&file) && sentence.contains("is not a file of tunings"), "{sentence}");
    }
    let sentence = fails(program().arg("tune").output().unwrap(), 2);
    assert!(sentence.contains("BATCHNORM_TUNING") && sentence.contains("--file"), "{sentence}");
}

#[test]
fn tune_measures_and_keeps_what_is_faster() {
    if !has_adapter() {
        return;
    }
    let folder = Folder::new();
    let (file, report) = (folder.text("tuning.json"), folder.text("tune.json"));
    for no_file in ["-", "/dev/stdout", "/dev/null"] {
        let refused = program().args(["tune", "--file", no_file]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{no_file}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(&format!("{no_file} is no file")), "{no_file}");
    }
    let arguments = ["tune", "--adapter", "0", "--file", &file, "--json", &report];
    let text = succeeds(program().args(arguments).output().unwrap());
    let report = json(&folder.path("tune.json"));
    let faster = report["built_in"] != report["measured"];
    assert_eq!((text.contains(&format!("kept in {file}")), folder.path("tuning.json").exists()), (faster, faster));
    let trials = report["trials"].as_array().unwrap();
    assert!(trials.len() > 5, "{text}");
    trials.iter().for_each(|trial| check_times(trial, &["ratio"]));
    let taken = trials.iter().any(|trial| trial["taken"] == true);
    assert_eq!((report["overall"].is_object(), text.contains("× time ")), (taken, taken), "{text}");
    report["shapes"]
        .as_array()
        .unwrap()
        .iter()
        .for_each(|row| check_times(row, &["built_in_ms", "measured_ms", "ratio"]));
    if faster {
        assert_eq!(json(&folder.path("tuning.json"))["tunings"][0]["tuning"], report["measured"]);
        assert!(report["overall"]["high"].as_f64() < Some(0.97), "{report}");
    }
}
