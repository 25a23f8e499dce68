//! The command line, read by hand: the bench needs no more than options with one value.

use std::{collections::BTreeMap, str::FromStr};

/// What was asked for: a command, then `--name VALUE` or `--flag`.
#[derive(Debug, Default)]
pub struct Arguments {
    command: Option<String>,
    values: BTreeMap<String, String>,
    flags: Vec<String>,
}

impl Arguments {
    /// Reads arguments. `flags` are the options that take no value.
    ///
    /// # Errors
    /// A sentence about the first thing that makes no sense.
    pub fn read(arguments: impl IntoIterator<Item = String>, flags: &[&str]) -> Result<Self, String> {
        let mut read = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                None if read.command.is_none() && read.values.is_empty() && read.flags.is_empty() => {
                    read.command = Some(argument);
                }
                None => return Err(format!("{argument}: not expected here")),
                Some(name) if flags.contains(&name) => read.flags.push(name.into()),
                Some(name) => {
                    let value = arguments.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    if read.values.insert(name.into(), value).is_some() {
                        return Err(format!("--{name} is given twice"));
                    }
                }
            }
        }
        Ok(read)
    }

    /// The command, if there is one.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// Takes an option out; the default when it was not given.
    ///
    /// # Errors
    /// When its value does not parse.
    pub fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, String> {
        match self.values.remove(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| format!("--{name}: {value} is no value that it takes")),
        }
    }

    /// Whether a flag was given; takes it out.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|flag| flag != name);
        self.flags.len() < before
    }

    /// Everything that was given must have been taken.
    ///
    /// # Errors
    /// Names what is left over.
    pub fn finish(self) -> Result<(), String> {
        match self.values.into_keys().chain(self.flags).next() {
            Some(name) => Err(format!("--{name} is no option of this command")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Arguments, String> {
        Arguments::read(text.split_whitespace().map(String::from), &["json"])
    }

    #[test]
    fn options_flags_and_a_command() {
        let mut arguments = read("attack --runs 7 --json").unwrap();
        assert_eq!(arguments.command(), Some("attack"));
        assert_eq!(arguments.take("runs", 1u64), Ok(7));
        assert_eq!(arguments.take("seed", 3u64), Ok(3));
        assert!(arguments.flag("json") && !arguments.flag("json"));
        arguments.finish().unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        assert_eq!(read("--seed").unwrap_err(), "--seed needs a value");
        assert_eq!(read("a b").unwrap_err(), "b: not expected here");
        assert_eq!(read("--seed 1 --seed 2").unwrap_err(), "--seed is given twice");
        assert_eq!(read("--seed x").unwrap().take("seed", 1u64), Err("--seed: x is no value that it takes".into()));
        assert_eq!(read("--sed 1").unwrap().finish(), Err("--sed is no option of this command".into()));
    }
}
