//! Requests that take longer than they did.

use super::*;

/// An app whose requests take ten times as long after two minutes, and so many a second come all the time: how many serve then, and
/// how many waited at most in the minute after the first minute and a half.
fn serving_after(set: impl FnOnce(&mut App)) -> (u32, u32) {
    let mut app = App::stateless(1, 30, 2);
    set(&mut app);
    app.run(120, 60);
    app.work_ms *= 10;
    app.run(90, 60);
    let mut waited = 0;
    for _ in 0..60 {
        app.run(1, 60);
        waited = waited.max(app.queued);
    }
    (app.count(Phase::Ready), waited)
}

#[test]
fn an_app_whose_requests_take_longer_than_before_gets_as_many_as_that_takes() {
    // Sixty a second, a second each: fifteen of four are at work all the time.
    for (claims, reports) in [(true, true), (false, true), (true, false)] {
        let (serving, waited) = serving_after(|app| (app.claims, app.reports) = (claims, reports));
        assert!((16..=24).contains(&serving) && waited < 60, "{claims} {reports}: {serving} {waited}");
    }
}
