//! How a command ends when it does not succeed.

use std::process::ExitCode;

use wgpu_batchnorm::Error;

/// Why the exit status is not 0.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that cannot be: exit status 2.
    Usage(String),
    /// Something could not be done: exit status 1.
    Failed(String),
    /// What was computed is wrong, and the output already says so: exit status 1.
    Wrong,
    /// Nobody reads the output any more: exit status 1, without a word.
    Closed,
}

impl Failure {
    /// One sentence on stderr, where there is one to say, and the exit status.
    pub fn report(self) -> ExitCode {
        let (sentence, status) = match self {
            Failure::Usage(sentence) => (Some(sentence), 2),
            Failure::Failed(sentence) => (Some(sentence), 1),
            Failure::Wrong | Failure::Closed => (None, 1),
        };
        if let Some(sentence) = sentence {
            eprintln!("error: {sentence}");
        }
        ExitCode::from(status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// What the library says of one value per channel, in the words of the command line.
pub fn too_few_values() -> String {
    "each channel has 1 value, and an unbiased running variance needs 2; --convention keras, flax or onnx keeps the \
     population variance"
        .to_owned()
}
