//! Which instance a person means: an instance's own name, or the name of an app that has one instance.

use super::Context;
use crate::client;
use crate::failure::{Exit, Failure};
use paracloud_substrate::config::Cloud;
use paracloud_substrate::names::{self, InstanceName};
use paracloud_substrate::person::Status;

/// The instance that `name` means. What no configuration explains is taken as it stands: the controller says what is wrong.
///
/// # Errors
/// It is an app that has several instances, or none yet, or the cloud does not answer.
pub async fn instance(context: &Context, name: &str) -> Result<String, Failure> {
    let cloud = context.cloud()?;
    if !is_scaled(&cloud, name) {
        return Ok(name.to_owned());
    }
    let status = client::status(&context.layout).await?;
    let found = of_app(&status, name);
    match found.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            let next = "look at paracloud ps; paracloud events says why";
            Err(Failure::new(Exit::Failed, "no_instance", name, "it has no instance yet", next))
        }
        [first, ..] => {
            let why = format!("it has {} instances: {}", found.len(), found.join(", "));
            let next = format!("name one of them, such as {first}");
            Err(Failure::new(Exit::Usage, "several_instances", name, why, next))
        }
    }
}

fn is_scaled(cloud: &Cloud, name: &str) -> bool {
    cloud.app(name).is_some_and(|app| app.scale.is_some())
}

/// The instances of an app, in the order in which people count.
fn of_app<'a>(status: &'a Status, app: &str) -> Vec<&'a str> {
    let names = status.instances.iter().map(|instance| instance.name.as_str());
    let mut found: Vec<_> = names.filter(|instance| is_of(instance, app)).collect();
    found.sort_by(|left, right| names::order(left, right));
    found
}

/// Whether an instance is the one of this name, or one of the app of this name.
pub fn is_meant(instance: &str, name: &str) -> bool {
    instance == name || is_of(instance, name)
}

fn is_of(instance: &str, app: &str) -> bool {
    instance.parse::<InstanceName>().is_ok_and(|instance| instance.app() == app)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::controller;
    use paracloud_core::migration::Phase;
    use paracloud_substrate::config::State;
    use paracloud_substrate::person::{Instance, Reply};
    use std::path::Path;

    fn status(names: &[&str]) -> Status {
        let instance = |name: &&str| Instance {
            name: (*name).to_owned(),
            record: None,
            phase: Phase::Idle,
            unknown: None,
            state: State::None,
            age_ms: None,
            restarts: false,
            unready: None,
            unanswered: None,
        };
        let instances = names.iter().map(instance).collect();
        Status { instances, ..Status::default() }
    }

    async fn meant(names: &[&str], name: &str) -> Result<String, Failure> {
        let reply = serde_json::to_string(&Reply::Status(status(names))).unwrap() + "\n";
        let (_directory, context) = controller(Some(reply));
        let text = "kind: App\nname: worker\ncommand: [sh, '{port}']\nscale: {max: 20}\n---\nkind: App\nname: web\n\
                    command: [sh, '{port}']\nlisten: 9090\n";
        let cloud = crate::manifest::resolve(text, Path::new("/"), 2).unwrap().cloud;
        cloud.save(&context.layout.cloud()).unwrap();
        instance(&context, name).await
    }

    #[tokio::test]
    async fn an_app_stands_for_its_instance_where_it_has_one() {
        assert_eq!(meant(&["web", "worker.3"], "worker").await.unwrap(), "worker.3");
        assert_eq!(meant(&["web"], "worker.2").await.unwrap(), "worker.2");
        assert_eq!(meant(&[], "web").await.unwrap(), "web");
        let several = meant(&["worker.10", "worker.9", "web"], "worker").await.unwrap_err();
        assert_eq!((several.exit, several.code.as_str()), (Exit::Usage, "several_instances"));
        assert_eq!(several.why, "it has 2 instances: worker.9, worker.10");
        assert!(several.next.contains("worker.9"));
        assert_eq!(meant(&["web"], "worker").await.unwrap_err().code, "no_instance");
    }

    #[test]
    fn an_app_means_all_its_instances_where_several_can_be_meant() {
        assert!(is_meant("worker.2", "worker") && is_meant("worker.2", "worker.2") && is_meant("web", "web"));
        assert!(!is_meant("worker.2", "worker.1") && !is_meant("worker.2", "work"));
    }
}
