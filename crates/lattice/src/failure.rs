//! What a command ends with when it does not succeed: the cause, and what to do next.

use serde_json::{Value, json};

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    cause: String,
    next: Option<String>,
    facts: Option<Value>,
}

/// Who has to do something about it, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The command ran and did not succeed: exit code 1.
    Failed,
    /// The command line makes no sense: exit code 2, as clap's.
    Usage,
}

impl Failure {
    /// The command did not succeed.
    pub fn new(cause: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, cause: cause.into(), next: None, facts: None }
    }

    /// The command line is wrong in a way that its grammar cannot tell.
    pub fn usage(cause: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new(cause) }
    }

    /// What the user can do about it.
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Facts for programs, shown beside the message under `--json`; an object.
    pub fn facts(mut self, facts: Value) -> Self {
        self.facts = Some(facts);
        self
    }

    /// 1 for a failure, 2 for a usage error.
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
        }
    }

    /// Text for stderr.
    pub fn to_text(&self) -> String {
        match &self.next {
            Some(next) => format!("error: {}\n  next: {next}", self.cause),
            None => format!("error: {}", self.cause),
        }
    }

    /// The object for stdout under `--json`: `{"error": {"message", "next"}}` and the facts.
    pub fn to_json(&self) -> Value {
        let mut out = json!({ "error": { "message": self.cause, "next": self.next } });
        if let (Some(Value::Object(facts)), Some(object)) = (&self.facts, out.as_object_mut()) {
            object.extend(facts.clone());
        }
        out
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)
    }
}

/// Writes a whole file; the error names it.
pub fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// Reads a whole file; the error names it.
pub fn read_file(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let failure = Failure::new(format!("cannot read {}: {error}", path.display()));
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.next("check the path; it is relative to the current directory"),
            _ => failure,
        }
    })
}
