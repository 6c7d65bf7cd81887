//! What a person hears of work that goes on without whoever asked for it.

use super::{Left, Person, gone};
use crate::draining::{Over, Progress as Drains};
use crate::journal::Heard;
use crate::updating::{Begun, Progress as Updates};
use paracloud_substrate::draining::Drained;
use paracloud_substrate::message::Note;
use paracloud_substrate::person::{Reply, What};
use std::future::poll_fn;
use std::task::Poll;
use tokio::sync::watch;

impl Person<'_> {
    /// What would become of each.
    pub(super) async fn drained(&mut self, drained: Vec<Drained>) -> Result<(), Left> {
        for one in drained {
            self.reply(&Reply::Drains(Box::new(one))).await?;
        }
        self.reply(&Reply::Drained { missed: Vec::new() }).await
    }

    /// How a node is being drained, until that is over.
    pub(super) async fn drains(&mut self, mut progress: watch::Receiver<Drains>) -> Result<(), Left> {
        let (mut waits, mut drained) = (0, 0);
        loop {
            let now = progress.borrow_and_update().clone();
            for (instance, why) in now.waits.after(waits) {
                waits += 1;
                self.reply(&Reply::Waits { instance, why }).await?;
            }
            for one in now.drained.into_iter().skip(drained) {
                drained += 1;
                self.reply(&Reply::Drains(Box::new(one))).await?;
            }
            match now.end {
                Some(Over::Done(missed)) => return self.reply(&Reply::Drained { missed }).await,
                Some(Over::Refused(refused)) => return self.refuse(refused).await,
                None => {}
            }
            tokio::select! {
                changed = progress.changed() => changed.map_err(|_| Left::Controller)?,
                left = gone(&mut self.reader) => return Err(left),
            }
        }
    }

    /// How apps are being updated, and whom that waits for, until it is over.
    pub(super) async fn updates(&mut self, mut apps: Vec<Begun>) -> Result<(), Left> {
        let control = self.control;
        let mut heard = control.heard.subscribe();
        let names: Vec<_> = apps.iter().map(|(app, _)| app.clone()).collect();
        let (mut told, mut waits) = (vec![0; apps.len()], vec![0; apps.len()]);
        loop {
            let now: Vec<Updates> = apps.iter_mut().map(|(_, it)| it.borrow_and_update().clone()).collect();
            for (progress, waits) in now.iter().zip(&mut waits) {
                for (instance, why) in progress.waits.after(*waits) {
                    *waits += 1;
                    self.reply(&Reply::Waits { instance, why }).await?;
                }
            }
            for (progress, told) in now.iter().zip(&mut told) {
                for one in progress.updated.iter().skip(*told) {
                    *told += 1;
                    self.reply(&Reply::Updates(Box::new(one.clone()))).await?;
                }
            }
            if now.iter().all(|progress| progress.is_over) {
                let updated = now.into_iter().flat_map(|progress| progress.updated).collect();
                return self.reply(&Reply::Applied { updated }).await;
            }
            let going = apps.iter_mut().zip(&now).filter(|(_, progress)| !progress.is_over);
            let mut changes: Vec<_> = going.map(|((_, app), _)| Box::pin(app.changed())).collect();
            let changed = poll_fn(|context| {
                let mut polled = changes.iter_mut().map(|it| it.as_mut().poll(context));
                polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            let event = tokio::select! {
                changed = changed => changed.map(|()| None).map_err(|_| Left::Controller)?,
                heard = self.next(&mut heard) => heard?,
            };
            if let Some(Heard::Event(event)) = event
                && matches!(&event.what, What::Note(Note::Unresponsive { .. } | Note::Awaited { .. }))
                && names.iter().any(|app| control.is_of(&event.instance, app))
            {
                self.reply(&Reply::Event(event)).await?;
            }
        }
    }
}
