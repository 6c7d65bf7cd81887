//! A person gives the number of an app's instances back to who decides it by itself, before its time is over.

use super::scaled_app;
use crate::control::Control;
use crate::journal::now_unix_ms;
use crate::person::refused;
use paracloud_substrate::figures::{counted, millis};
use paracloud_substrate::person::{Kept, Refused};

/// What a person wanted of an app is wanted no more. What that was; `None`: nobody wanted anything, and nothing is changed.
pub(crate) async fn give_back(control: &Control, app: &str) -> Result<Option<Kept>, Refused> {
    let (app, _) = scaled_app(control, app)?;
    let name = &app.name;
    let path = control.layout.scales();
    let was = control.scales.forget(&path, name, now_unix_ms()).map_err(|error| {
        let message = format!("nothing was changed for {name}: {}: {error}", path.display());
        refused("no_space", message, "free some space on that disk")
    })?;
    if let Some(Kept { instances, remaining_ms, .. }) = &was {
        let (wanted, left) = (counted((*instances).into(), "instance"), millis(*remaining_ms));
        let what = format!("a person gives the number back: {wanted} were wanted for {left} more");
        control.keep_remark(name, None, what).await;
    }
    Ok(was)
}
