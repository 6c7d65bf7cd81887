//! Who must notice a fault, and how it is built and run.

use super::tree::Tree;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take to notice a fault, in seconds. Without one, the longest takes ten.
const RUN_S_MAX: u64 = 120;
/// How long one build may take, in seconds; the first one builds every dependency.
const BUILD_S_MAX: u64 = 900;
/// How often a running program is looked at, in milliseconds.
const LOOK_MS: u64 = 10;
/// Last lines that are shown of an output.
const LINES_SHOWN_MAX: usize = 25;

/// Who must notice.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Catch {
    /// The simulation, in one of these seeds, by one of these rules.
    Seeds { from: u64, count: u64, rules: &'static [&'static str] },
    /// The model of this name, by a property that begins so.
    Model { name: &'static str, property: &'static str },
    /// A test.
    Test { package: &'static str, target: Target, name: &'static str },
}

/// Where a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// In the library itself.
    Library,
    /// In the program itself, where there is no library.
    Binary,
    /// In this file of `tests`.
    File(&'static str),
    /// In this file of `tests`, with the feature of the same crate by which a test chooses how threads take turns.
    Shuttle(&'static str),
}

impl Catch {
    /// Whether the same program runs the other one.
    pub(super) fn is_built_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Seeds { .. } | Self::Model { .. }, Self::Seeds { .. } | Self::Model { .. }) => true,
            (
                Self::Test { package, target, .. },
                Self::Test { package: other_package, target: other_target, .. },
            ) => (package, target) == (other_package, other_target),
            (Self::Seeds { .. } | Self::Model { .. } | Self::Test { .. }, _) => false,
        }
    }

    /// Whether one run serves both, as they run the same or are tests of the same program.
    pub(super) fn runs_with(&self, other: &Self) -> bool {
        self.is_built_like(other)
            && match (self, other) {
                (Self::Seeds { from, count, .. }, Self::Seeds { from: of, count: many, .. }) => {
                    (from, count) == (of, many)
                }
                (Self::Model { name, .. }, Self::Model { name: of, .. }) => name == of,
                (Self::Test { .. }, Self::Test { .. }) => true,
                (Self::Seeds { .. } | Self::Model { .. } | Self::Test { .. }, _) => false,
            }
    }

    /// The test's name, if it is one.
    pub(super) fn test(&self) -> Option<&'static str> {
        match self {
            Self::Test { name, .. } => Some(name),
            Self::Seeds { .. } | Self::Model { .. } => None,
        }
    }

    /// The line that says what was noticed, if it is what was to be noticed.
    pub(super) fn noticed(&self, output: &str) -> Option<String> {
        let says = |line: &str| match self {
            Self::Seeds { rules, .. } => {
                line.starts_with("seed ") && rules.iter().any(|rule| line.contains(&format!(": {rule}: ")))
            }
            Self::Model { name, property } => {
                let broken = line.strip_prefix(&format!("model {name}: ")).unwrap_or_default();
                // A state may be healed before it is searched on: what is broken on that way is said behind it.
                let is_on_the_way =
                    broken.starts_with("I5: ") && broken.contains(&format!(": healed: {property}"));
                broken.starts_with(property) || is_on_the_way
            }
            Self::Test { name, .. } => line.starts_with(&format!("test {name}")) && line.ends_with("FAILED"),
        };
        output.lines().map(str::trim).find(|line| says(line)).map(str::to_owned)
    }
}

impl fmt::Display for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seeds { from, count, .. } => write!(f, "seeds {from} to {}", from + count - 1),
            Self::Model { name, .. } => write!(f, "model {name}"),
            Self::Test { package, target: Target::Library | Target::Binary, name } => {
                write!(f, "{package} {name}")
            }
            Self::Test { package, target: Target::File(file) | Target::Shuttle(file), name } => {
                write!(f, "{package} {file} {name}")
            }
        }
    }
}

/// A program that was built, and the folder it runs in.
pub(super) struct Program {
    executable: PathBuf,
    folder: PathBuf,
    /// It starts other programs that were built with it, which the next build replaces.
    starts_others: bool,
}

impl Program {
    /// Puts it where no build replaces it. One that starts others stays where it is: nothing is to be built before it has
    /// run.
    pub(super) fn kept(mut self, tree: &Tree, number: usize) -> Result<Self> {
        if !self.starts_others {
            let kept = tree.scratch(&format!("program-{number}"))?;
            fs::copy(&self.executable, &kept)
                .with_context(|| format!("{} cannot be written", kept.display()))?;
            self.executable = kept;
        }
        Ok(self)
    }

    /// Whether something else may be built while it runs.
    pub(super) fn is_kept(&self) -> bool {
        !self.starts_others
    }
}

/// How a run ended.
pub(super) enum Ran {
    Passed,
    Failed(String),
    Late(String),
}

/// Builds what runs a catch; the inner error is what the compiler said.
///
/// What is built is chosen by its name from the whole workspace, because cargo builds a dependency once for each set of
/// features: so there is but one.
pub(super) fn build(tree: &Tree, catch: &Catch) -> Result<std::result::Result<Program, String>> {
    let mut cargo = Command::new("cargo");
    match catch {
        Catch::Seeds { .. } | Catch::Model { .. } => {
            cargo.args(["build", "--workspace", "--example", "first_fault"]);
        }
        Catch::Test { package, target, .. } => {
            cargo.args(["test", "--no-run"]);
            match target {
                // The other one has no library, and most of the dependencies.
                Target::Library => cargo.args(["--package", "xtask", "--package", package, "--lib"]),
                Target::Binary => cargo.args(["--package", package, "--bin", package]),
                Target::File(file) => cargo.args(["--workspace", "--test", file]),
                Target::Shuttle(file) => {
                    cargo.args(["--workspace", "--features", &format!("{package}/shuttle"), "--test", file])
                }
            };
        }
    }
    cargo.args(["--quiet", "--locked", "--profile", "mutant", "--message-format", "json"]);
    cargo.env("CARGO_TARGET_DIR", tree.target()).current_dir(tree.root());
    let (status, said, errors) = watch(tree, "build", &mut cargo, BUILD_S_MAX)?;
    let messages = || said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    match status {
        Some(true) => {}
        Some(false) => {
            let rendered = messages().filter(|it| it["message"]["level"] == "error");
            let rendered = rendered.filter_map(|it| Some(it["message"]["rendered"].as_str()?.to_owned()));
            let rendered: String = rendered.collect();
            return Ok(Err(last_lines(&(errors + &rendered))));
        }
        None => return Ok(Err(format!("the build did not end within {BUILD_S_MAX} s"))),
    }
    let text = |value: &Value| value.as_str().map(PathBuf::from);
    let is_test = matches!(catch, Catch::Test { .. });
    let executables = || messages().filter(|it| it["executable"].is_string());
    // With a test cargo also builds the programs that it starts.
    let mut wanted = executables().filter(|it| it["profile"]["test"] == is_test);
    let starts_others = is_test && executables().any(|it| it["profile"]["test"] == false);
    let built = wanted.next().context("cargo named no program that it built")?;
    ensure!(wanted.next().is_none(), "{catch} is the name of more than one program");
    let executable = text(&built["executable"]).context("a program lies nowhere")?;
    let manifest = text(&built["manifest_path"]).context("a program has no manifest")?;
    let folder = manifest.parent().context("a manifest lies in no folder")?.to_owned();
    Ok(Ok(Program { executable, folder, starts_others }))
}

/// Runs a catch, and with it others that the same program runs.
pub(super) fn run(tree: &Tree, number: usize, catches: &[&Catch], program: &Program) -> Result<Ran> {
    let mut command = Command::new(&program.executable);
    command.current_dir(&program.folder);
    let mut tests = 0;
    if catches.iter().any(|catch| catch.test().is_some()) {
        command.arg("--exact");
    }
    for catch in catches {
        match catch {
            Catch::Seeds { from, count, .. } => {
                command.args(["sim", &from.to_string(), &count.to_string()]);
            }
            Catch::Model { name, .. } => {
                command.args(["model", name]);
            }
            Catch::Test { name, .. } => {
                tests += 1;
                command.arg(name);
            }
        }
    }
    let (status, said, errors) = watch(tree, &format!("run-{number}"), &mut command, RUN_S_MAX)?;
    let output = errors + &said;
    Ok(match status {
        None => Ran::Late(output),
        Some(false) => Ran::Failed(output),
        // A test that is not there passes.
        Some(true) if tests > 0 && !output.contains(&format!("{tests} passed")) => {
            Ran::Failed(format!("not all of these {tests} tests are there:\n{output}"))
        }
        Some(true) => Ran::Passed,
    })
}

/// Runs a program to its end or to the bound; then it is killed, and there is no status.
fn watch(
    tree: &Tree,
    name: &str,
    command: &mut Command,
    seconds_max: u64,
) -> Result<(Option<bool>, String, String)> {
    let (out, err) = (tree.scratch(&format!("{name}.stdout"))?, tree.scratch(&format!("{name}.stderr"))?);
    command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?);
    let mut child = command.spawn().with_context(|| format!("{command:?} cannot be run"))?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.success());
        }
        if began.elapsed() > Duration::from_secs(seconds_max) {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    };
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((status, text(&out)?, text(&err)?))
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))
}

/// The end of an output, for people.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_SHOWN_MAX)..].join("\n")
}
