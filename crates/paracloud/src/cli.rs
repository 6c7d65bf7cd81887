//! The command line.

use crate::command::transfer::Options as MoveOptions;
use crate::command::{
    Context, apply, ask, cancel, check_directory, drain, events, explain, holds, logs, named, node, ps,
    reconsider, resize, scale, stop, transfer, validate,
};
use crate::failure::{Exit, Failure};
use crate::manifest::NODES_MAX;
use crate::output::Format;
use crate::{demo, output, quantity, shells, up};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::names::INSTANCES_PER_APP_MAX;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The directory of a cloud that does not say another.
pub const DIRECTORY: &str = ".paracloud";

const EXAMPLES: &str = "\
Examples:
  paracloud demo                   watch live moves, nothing to prepare
  paracloud up app.yaml            bring a cloud up in this directory
  paracloud ps                     what runs where
  paracloud move sessions          move it to another node, live
  paracloud logs -f sessions       what it writes

Exit codes: 0 done, 1 failed or rolled back, 2 wrong usage or manifest,
3 no cloud here or not reachable, 4 a consent is needed.";

/// Moves applications between nodes while they serve.
#[derive(Debug, Parser)]
#[command(name = "paracloud", version, after_help = EXAMPLES, max_term_width = 80)]
struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Shared {
    /// The directory of the cloud
    #[arg(long, global = true, value_name = "DIR", default_value = DIRECTORY, env = "PARACLOUD_DIR", hide_env_values = true)]
    dir: PathBuf,
    /// text, or json: one object, or one a line for streams
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a cloud up, until Ctrl-C
    #[command(after_help = "Example: paracloud up app.yaml --nodes 3")]
    Up {
        /// The manifest
        manifest: PathBuf,
        #[command(flatten)]
        size: Size,
        /// Consent to losing what apps hold that are in the manifest no more
        #[arg(long)]
        accept_loss: bool,
    },
    /// Show what a manifest means, without starting anything
    Validate {
        /// The manifest
        manifest: PathBuf,
        #[command(flatten)]
        size: Size,
    },
    /// Show what runs where
    Ps,
    /// Move an instance to another node while it serves
    #[command(after_help = "\
Examples:
  paracloud move sessions --to n2
  paracloud move worker.2              one of several instances
  paracloud move sessions --dry-run    ask the app what it would cost")]
    Move {
        /// The instance, or an app that has one
        app: String,
        /// The node; any other if not said
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// Ask the app what a move would cost, and change nothing
        #[arg(long, conflicts_with_all = ["accept_loss", "no_wait"])]
        dry_run: bool,
        /// Consent to losing its state, if it cannot hand it over
        #[arg(long)]
        accept_loss: bool,
        /// Do not wait for the end
        #[arg(long)]
        no_wait: bool,
    },
    /// Ask an app what the cloud would ask it; nothing is done because of it
    #[command(after_help = "\
Examples:
  paracloud ask worker quote                    what losing it would cost now
  paracloud ask worker resize --memory 64MiB    would it do with less?")]
    Ask {
        /// The app, or one of its instances
        app: String,
        #[command(subcommand)]
        asked: ask::Asked,
    },
    /// Give the open operation of an instance up: a move, a leave, a new size
    Cancel {
        /// The instance, or an app that has one
        app: String,
    },
    /// Say why: how many instances, what one gets, what was behind an operation
    #[command(after_help = "\
Examples:
  paracloud explain worker            why so many instances
  paracloud explain worker.2          why it is there, and what it gets
  paracloud explain worker.2 op-3     who asked for it, and why")]
    Explain {
        /// An app with scale, or an instance
        name: String,
        /// An operation of the instance, as events names it
        #[arg(value_parser = explain::operation)]
        operation: Option<OperationNumber>,
    },
    /// Show what happened
    Events {
        /// Of this app or instance alone
        app: Option<String>,
        /// Go on with what happens
        #[arg(short, long)]
        follow: bool,
        /// From this number on
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u64,
    },
    /// Show what the processes of an app or an instance wrote
    Logs {
        /// The app or the instance
        app: String,
        /// Go on with what they write
        #[arg(short, long)]
        follow: bool,
    },
    /// End the cloud; asks before state is lost
    Stop {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Set how many instances an app has, and keep it so for a time
    #[command(after_help = "\
Examples:
  paracloud scale worker 4
  paracloud scale worker 4 --for 30m
  paracloud scale worker 2 --dry-run   ask the app, and say who would leave
  paracloud scale worker --auto        the rule decides again, from now on

Of fewer, those leave whose loss costs least by their own word. Who leaves gets
no more requests, finishes what it has, and ends; cancel calls it back.")]
    Scale {
        /// The app
        app: String,
        /// So many instances
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(INSTANCES_PER_APP_MAX)))]
        #[arg(required_unless_present = "auto")]
        instances: Option<u32>,
        /// Give the number back before its time is over: it is decided by what
        /// comes and waits again
        #[arg(long, conflicts_with_all = ["instances", "hold_ms", "dry_run", "accept_loss", "within_ms", "no_wait"])]
        auto: bool,
        /// Nobody else decides it for so long: 90s, 30m, 2h; if not said, as
        /// the manifest says
        #[arg(long = "for", value_name = "TIME", value_parser = time_ms, allow_hyphen_values = true)]
        hold_ms: Option<u32>,
        /// Ask the app, change nothing, and say what would be done
        #[arg(long, conflicts_with_all = ["accept_loss", "no_wait"])]
        dry_run: bool,
        /// Consent to losing the state of those that leave
        #[arg(long)]
        accept_loss: bool,
        /// Call back who has not left within so long; the manifest's
        /// `scale.drain` is the most
        #[arg(long = "within", value_name = "TIME", value_parser = time_ms, allow_hyphen_values = true)]
        within_ms: Option<u32>,
        /// Do not wait until they have left
        #[arg(long)]
        no_wait: bool,
    },
    /// Make of a cloud that runs what a manifest says
    #[command(after_help = "\
Examples:
  paracloud apply app.yaml --dry-run   ask every app what would happen
  paracloud apply app.yaml

An app that hands its state over goes to its new process without losing
anything. It goes on if you leave with Ctrl-C: the same command hears of it
again, and paracloud cancel of who is updated gives it up.")]
    Apply {
        /// The manifest
        manifest: PathBuf,
        /// Ask the apps, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Consent to losing the state of those that cannot hand it over
        #[arg(long)]
        accept_loss: bool,
        /// Do not wait for the end
        #[arg(long, conflicts_with = "dry_run")]
        no_wait: bool,
    },
    /// Give an instance another size, with its consent
    #[command(after_help = "\
Examples:
  paracloud resize worker.2 --memory 512MiB
  paracloud resize worker.2 --memory 64MiB --dry-run   would it do with less?

More is given at once. Less is asked for, and its limit is lowered only once
what it uses has fallen, as measured.")]
    #[command(group(ArgGroup::new("size").required(true).multiple(true)))]
    Resize {
        /// The instance, or an app that has one
        app: String,
        /// Memory that it is to have, such as 64MiB
        #[arg(long, value_name = "SIZE", value_parser = ask::memory_kib, group = "size", allow_hyphen_values = true)]
        memory: Option<u32>,
        /// Processors that it is to have: 2, or 500m for half of one
        #[arg(long, value_name = "CPUS", value_parser = ask::cpu_millis, group = "size", allow_hyphen_values = true)]
        cpu: Option<u32>,
        /// Give it up if it is not done within so long, at most the manifest's move.prepare; its size stays then
        #[arg(long = "budget", value_name = "TIME", value_parser = time_ms, allow_hyphen_values = true, conflicts_with = "dry_run")]
        budget_ms: Option<u32>,
        /// Ask the app, and change nothing
        #[arg(long, conflicts_with = "no_wait")]
        dry_run: bool,
        /// Do not wait for the end
        #[arg(long)]
        no_wait: bool,
    },
    /// Move everything away from a node, and say what could not go and why
    #[command(after_help = "\
Examples:
  paracloud drain-node n1 --dry-run    ask every app what would happen
  paracloud drain-node n1 --parallel 4

Who holds on to its place is waited for until its hold expires. It goes on if you
leave with Ctrl-C, until it is over: the same command hears of it again, and
paracloud node open n1 ends it.")]
    DrainNode {
        /// The node
        node: String,
        /// Ask the apps, and move nothing
        #[arg(long)]
        dry_run: bool,
        /// So many moves at once
        #[arg(long, value_name = "K", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(drain::PARALLEL_MAX)))]
        parallel: u32,
        /// Wait for holds at most so long
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time_ms, allow_hyphen_values = true)]
        wait: u32,
        /// Consent to losing the state of those that cannot hand it over
        #[arg(long, conflicts_with = "dry_run")]
        accept_loss: bool,
        /// Do not wait for the end
        #[arg(long, conflicts_with = "dry_run")]
        no_wait: bool,
    },
    /// Show who asks to be left alone, from what, until when, and why
    Holds,
    /// Say something about a node
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Look again at an instance about which something is unknown
    Reconsider {
        /// The instance, or an app that has one
        app: String,
    },
    #[command(flatten)]
    Shell(shells::Shell),
    /// Show live moves with clients that keep count, in under two minutes
    #[command(after_help = "Example: paracloud demo --keep")]
    Demo(demo::Options),
    /// The app of a demo
    #[command(hide = true)]
    DemoApp,
    /// The clients of a demo, driven by lines of JSON
    #[command(hide = true)]
    Load,
}

#[derive(Debug, Args)]
struct Size {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    nodes: u32,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// It will not come back: apps there start elsewhere; asks before state is lost
    Lost {
        /// The node
        node: String,
        /// Do not ask
        #[arg(short, long, alias = "accept-loss")]
        yes: bool,
    },
    /// It was drained, and is to get new instances again
    Open {
        /// The node
        node: String,
    },
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let Arguments { shared, command } = match parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error, std::env::args_os().skip(1)),
    };
    let format = shared.output;
    let done = match Layout::new(&shared.dir) {
        Ok(layout) => run(Context { layout, format }, command),
        Err(error) => Err(Failure::machine(shared.dir.display().to_string(), &error)),
    };
    match done {
        Ok(code) => heard(code),
        Err(failure) => failure.report(format),
    }
}

/// A command that did what it was asked, but whose words did not arrive, has failed.
fn heard(code: ExitCode) -> ExitCode {
    output::unwritten().map_or(code, |error| Failure::unwritten(error).report(Format::Text))
}

fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command();
    let mut matches = command.try_get_matches_from_mut(words)?;
    let names_directory = matches.value_source("dir") == Some(ValueSource::CommandLine);
    let arguments = Arguments::from_arg_matches_mut(&mut matches)?;
    if names_directory && matches!(arguments.command, Command::Demo(_)) {
        let why = "a demo makes a directory of its own, and takes it away: leave --dir out";
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    Ok(arguments)
}

/// The command line cannot be understood, or asked for help alone. Who reads JSON is answered in JSON.
fn misused(error: &clap::Error, words: impl Iterator<Item = OsString>) -> ExitCode {
    if error.use_stderr() && wants_json(words) {
        return misuse(error).report(Format::Json);
    }
    let printed = error.print();
    if error.use_stderr() {
        // Nobody to tell is no other failure.
        return ExitCode::from(Exit::Usage as u8);
    }
    if let Err(error) = printed {
        output::missed(&error);
    }
    heard(ExitCode::SUCCESS)
}

fn misuse(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let is_missing = matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    );
    let why = if is_missing {
        "a command is missing".to_owned()
    } else {
        let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        lines.join(" ").trim_start_matches("error: ").to_owned()
    };
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let next = usage.map_or_else(|| "paracloud --help".to_owned(), |usage| format!("{usage}; or --help"));
    Failure::new(Exit::Usage, "usage", "paracloud", why, next)
}

/// Whether `--output json` stands among words that could not be understood as a whole.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<_> = words.collect();
    words.iter().any(|word| word == "--output=json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

fn run(context: Context, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Shell(shell) => return Ok(shells::run(context.layout, shell)),
        Command::DemoApp => demo::parts::app()?,
        Command::Load => demo::parts::clients()?,
        Command::Validate { manifest, size } => validate::run(&manifest, size.nodes, context.format)?,
        person @ (Command::Up { .. }
        | Command::Ps
        | Command::Move { .. }
        | Command::Ask { .. }
        | Command::Cancel { .. }
        | Command::Events { .. }
        | Command::Explain { .. }
        | Command::Logs { .. }
        | Command::Stop { .. }
        | Command::Scale { .. }
        | Command::Resize { .. }
        | Command::Holds
        | Command::DrainNode { .. }
        | Command::Apply { .. }
        | Command::Node { .. }
        | Command::Reconsider { .. }
        | Command::Demo(_)) => {
            if !matches!(person, Command::Demo(_)) {
                check_directory(&context.layout)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::machine("paracloud", &error))?;
            runtime.block_on(Box::pin(of_person(&context, person)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_person(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up { manifest, size, accept_loss } => {
            let options = up::Options { manifest, nodes: size.nodes, accept_loss };
            Box::pin(up::run(context, &options)).await
        }
        Command::Ps => ps::run(context).await,
        Command::Move { app, to, dry_run: true, .. } => {
            let instance = named::instance(context, &app).await?;
            transfer::preview(context, &instance, to.as_deref()).await
        }
        Command::Move { app, to, accept_loss, no_wait, .. } => {
            let app = named::instance(context, &app).await?;
            Box::pin(transfer::run(context, &app, &MoveOptions { to, accept_loss, no_wait })).await
        }
        Command::Ask { app, asked } => ask::run(context, &app, &asked).await,
        Command::Cancel { app } => cancel::run(context, &named::instance(context, &app).await?).await,
        Command::Scale { app, instances: None, .. } => scale::give_back(context, &app).await,
        Command::Scale {
            app,
            instances: Some(to),
            hold_ms,
            dry_run,
            accept_loss,
            within_ms,
            no_wait,
            ..
        } => {
            let options = scale::Options { to, hold_ms, dry_run, accept_loss, within_ms, no_wait };
            Box::pin(scale::run(context, &app, &options)).await
        }
        Command::Resize { app, memory, cpu, budget_ms, dry_run, no_wait } => {
            let instance = named::instance(context, &app).await?;
            let options = resize::Options { memory_kib: memory, cpu_milli: cpu, budget_ms, dry_run, no_wait };
            resize::run(context, &instance, &options).await
        }
        Command::Holds => holds::run(context).await,
        Command::Apply { manifest, dry_run, accept_loss, no_wait } => {
            let options = apply::Options { manifest, dry_run, accept_loss, no_wait };
            Box::pin(apply::run(context, &options)).await
        }
        Command::DrainNode { node, dry_run, parallel, wait, accept_loss, no_wait } => {
            let options = drain::Options { dry_run, parallel, wait_ms: wait, accept_loss, no_wait };
            Box::pin(drain::run(context, &node, &options)).await
        }
        Command::Explain { name, operation } => explain::run(context, &name, operation).await,
        Command::Events { app, follow, from } => events::run(context, app.as_deref(), from, follow).await,
        Command::Logs { app, follow } => logs::run(context, &app, follow).await,
        Command::Stop { yes } => stop::run(context, yes).await,
        Command::Node { command: NodeCommand::Open { node } } => node::open(context, &node).await,
        Command::Node { command: NodeCommand::Lost { node, yes } } => node::lost(context, &node, yes).await,
        Command::Reconsider { app } => reconsider::run(context, &named::instance(context, &app).await?).await,
        Command::Demo(options) => Box::pin(demo::run(context.format, &options)).await,
        Command::Validate { .. } | Command::Shell(_) | Command::DemoApp | Command::Load => Ok(()),
    }
}

/// A length of time with its unit: `90s`, `30m`, `2h`. In milliseconds.
fn time_ms(text: &str) -> Result<u32, String> {
    let want = "want a time with its unit, such as 90s, 30m or 2h: from 1ms to 49d";
    let ms = quantity::amount(text, quantity::TIMES).and_then(|ms| u32::try_from(ms).ok());
    ms.filter(|ms| *ms > 0).ok_or_else(|| want.to_owned())
}

/// `n1`, or `1`.
pub(crate) fn node_id(text: &str) -> Result<NodeId, String> {
    numbered(text, "n").map(NodeId)
}

/// `g1`, or `1`.
pub(crate) fn gateway_id(text: &str) -> Result<GatewayId, String> {
    numbered(text, "g").map(GatewayId)
}

fn numbered(text: &str, prefix: &str) -> Result<u32, String> {
    let number = text.strip_prefix(prefix).unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("want {prefix}1, {prefix}2, …"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_is_short_and_fits_80_columns() {
        let mut command = Arguments::command();
        command.build();
        let mut help = vec![command.render_long_help().to_string()];
        let names = [
            "up",
            "apply",
            "move",
            "ask",
            "events",
            "logs",
            "scale",
            "drain-node",
            "holds",
            "stop",
            "agent",
            "demo",
        ];
        for name in names {
            help.push(command.find_subcommand_mut(name).unwrap().render_help().to_string());
        }
        let help = help.join("\n======\n");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        insta::assert_snapshot!(help);
    }

    #[test]
    fn every_command_of_the_readme_and_of_the_guide_can_be_typed() {
        let pages = [include_str!("../../../README.md"), include_str!("../../../docs/guide/first-move.md")];
        let lines =
            pages.into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix("$ paracloud"));
        let typed: Vec<_> = lines.map(|line| line.split('#').next().unwrap_or_default()).collect();
        assert!(typed.len() >= 6, "{typed:?}");
        for line in typed {
            let words = std::iter::once("paracloud").chain(line.split_whitespace());
            assert!(Arguments::try_parse_from(words).is_ok(), "paracloud{line}");
        }
        let example = include_str!("../../../examples/sessions/app.yaml");
        let listens =
            example.lines().find(|line| line.starts_with("listen:")).unwrap().matches(':').count() - 1;
        assert_eq!((listens, pages[0].contains("two nodes, two gateways")), (2, true), "as the README says");
    }

    #[test]
    fn a_command_line_that_is_wrong_is_said_in_one_sentence_with_its_usage() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let failure = |line: &str| misuse(&Arguments::try_parse_from(words(line)).unwrap_err());
        let move_what = failure("paracloud move --output json");
        assert_eq!(move_what.why, "the following required arguments were not provided: <APP>");
        assert!(move_what.next.starts_with("paracloud move "), "{}", move_what.next);
        let nodes = failure("paracloud up app.yaml --nodes 65");
        let demo = parse(words("paracloud demo --dir here").into_iter().map(OsString::from)).unwrap_err();
        assert!(misuse(&demo).why.contains("leave --dir out"), "{demo}");
        assert_eq!(nodes.why, "invalid value '65' for '--nodes <N>': 65 is not in 1..=64");
        let unsized_yet = failure("paracloud resize web");
        assert!(unsized_yet.next.contains("<--memory <SIZE>|--cpu <CPUS>>"), "{}", unsized_yet.next);
        for (line, option, bounds) in [
            ("paracloud resize web --memory -1", "'-1' for '--memory <SIZE>'", "from 1KiB to 4TiB"),
            ("paracloud resize web --cpu -1", "'-1' for '--cpu <CPUS>'", "from 1m to 1024"),
            ("paracloud resize web --cpu 1 --budget -1s", "'-1s' for '--budget <TIME>'", "from 1ms to 49d"),
            ("paracloud ask web resize --memory -1MiB", "'-1MiB' for '--memory <SIZE>'", "from 1KiB to 4TiB"),
            ("paracloud scale web -1", "'-1' for '[INSTANCES]'", "1..="),
        ] {
            let why = failure(line).why;
            assert!(why.contains(option) && why.contains(bounds), "{line}: {why}");
        }
        assert!(failure("paracloud scale web").why.contains("INSTANCES"), "a number, or --auto");
        for other in ["2", "--for 1m", "--dry-run", "--no-wait"] {
            assert!(
                failure(&format!("paracloud scale web --auto {other}")).why.contains("--auto"),
                "{other}"
            );
        }
        for line in ["paracloud", "paracloud --output json", "paracloud node"] {
            assert_eq!(failure(line).why, "a command is missing", "{line}");
        }
        let json = |line: &str| wants_json(words(line).into_iter().map(OsString::from));
        assert!(json("ps --output json") && json("ps --output=json --all") && !json("logs json --output"));
    }

    #[test]
    fn a_time_has_its_unit_and_its_bounds() {
        let all = ["90s", "30m", "2h", "1d", "5ms"].map(time_ms);
        assert_eq!(all, [Ok(90_000), Ok(1_800_000), Ok(7_200_000), Ok(86_400_000), Ok(5)]);
        for wrong in ["", "5", "h", "0s", "1w", "-1s", "1.5h", "50d", "99999999999s", "1 day"] {
            assert!(time_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_and_gateways_are_named_by_letter_and_number() {
        assert_eq!(node_id("n2"), Ok(NodeId(2)));
        assert_eq!(gateway_id("1"), Ok(GatewayId(1)));
        assert!(node_id("g2").is_err() && gateway_id("g0").is_err());
    }
}
