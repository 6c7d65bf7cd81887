//! `paracloud scale APP N`: how many instances an app has, by a person's word, kept for a stated time.

use super::{Context, node};
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::Failure;
use crate::figures::{counted, time_of_day};
use crate::output::{Format, say, say_object};
use paracloud_substrate::person::{Reply, Request, Scaled, Starting};

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// So many instances.
    pub to: u32,
    /// For so long, in milliseconds; `None`: as the manifest says.
    pub hold_ms: Option<u32>,
    /// Change nothing, and say what would be done.
    pub dry_run: bool,
}

/// Tells the controller.
///
/// # Errors
/// There is no such app, it cannot have so many instances, or the cloud does not answer.
pub async fn run(context: &Context, app: &str, options: &Options) -> Result<(), Failure> {
    let Options { to, hold_ms, dry_run } = *options;
    let request = Request::Scale { app: app.to_owned(), to, hold_ms, dry_run };
    let reply = client::ask(&context.layout, app, &request, ANSWER_MS_MAX).await?;
    let Reply::Scaled(scaled) = reply else { return Err(client::unexpected(&context.layout, &reply)) };
    match context.format {
        Format::Json => {
            let mut object =
                serde_json::to_value(&scaled).map_err(|error| Failure::machine("scale", &error))?;
            (object["ok"], object["dry_run"]) = (true.into(), dry_run.into());
            say_object("scale", object)
        }
        Format::Text => {
            let names = context.cloud()?;
            let shown = |starting: &Starting| {
                let name = node::shown(&names, starting.node);
                format!("  {} on {name}", starting.instance)
            };
            say(&text(&scaled, dry_run, shown))
        }
    };
    Ok(())
}

fn text(scaled: &Scaled, dry_run: bool, shown: impl Fn(&Starting) -> String) -> String {
    let Scaled { app, from, to, starts, until_unix_ms } = scaled;
    let now = counted(u64::from(*from), "instance");
    let what = match (starts.len(), dry_run) {
        (0, true) => format!("{app}: has {now} already; nothing would be started"),
        (0, false) => format!("{app}: has {now} already"),
        (_, true) => format!("{app}: has {now}; for {to} these would be started:"),
        (_, false) => format!("{app}: had {now}; for {to} these are started:"),
    };
    let mut lines = vec![what];
    lines.extend(starts.iter().map(shown));
    if let Some(until) = until_unix_ms {
        lines.push(format!("kept until {}", time_of_day(*until)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::NodeId;

    #[test]
    fn what_is_started_where_and_how_long_that_is_kept_is_said() {
        let starting = |instance: &str, node| Starting { instance: instance.to_owned(), node: NodeId(node) };
        let starts = vec![starting("worker.2", 2), starting("worker.3", 1)];
        let app = "worker".to_owned();
        let out = Scaled { app, from: 1, to: 3, starts, until_unix_ms: Some(1_700_000_000_000) };
        let same = Scaled { from: 3, starts: Vec::new(), ..out.clone() };
        let dry = |scaled: &Scaled| Scaled { until_unix_ms: None, ..scaled.clone() };
        let shown = |starting: &Starting| format!("  {} on {}", starting.instance, starting.node);
        let texts = [
            text(&out, false, shown),
            text(&dry(&out), true, shown),
            text(&same, false, shown),
            text(&dry(&same), true, shown),
        ];
        insta::assert_snapshot!(texts.join("\n\n"));
    }
}
