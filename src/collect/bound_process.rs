//! The process of an agent: followed from its registration to its end, never a later one with its pid.

use super::{
    host::Rows,
    process::{ProcessSampler, Sighting},
};
use crate::model::{Batch, Timestamp};

/// A process as a registration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessName {
    /// Its pid.
    pub pid: u32,
    /// What tells it from another with the same pid; `None` when it was not there at the registration.
    pub start: Option<String>,
}

/// A process that is looked at again and again.
#[derive(Debug)]
pub(super) struct BoundProcess {
    name: ProcessName,
    sampler: Option<ProcessSampler>,
    /// Why it is not looked at any more.
    gone: Option<String>,
}

impl BoundProcess {
    /// Follows the process; nothing is looked at yet.
    pub(super) fn new(name: ProcessName) -> Self {
        let gone = name.start.is_none().then(|| {
            let pid = name.pid;
            format!(
                "there was no process {pid} when the agent was registered; register it again with its pid"
            )
        });
        Self {
            name,
            sampler: None,
            gone,
        }
    }

    /// Its name.
    pub(super) const fn name(&self) -> &ProcessName {
        &self.name
    }

    /// Whether the next look is the first one, which tells nothing of the cpu.
    pub(super) const fn is_new(&self) -> bool {
        self.sampler.is_none() && self.gone.is_none()
    }

    /// Looks at it; the samples get the time `at`. After its end, and when its pid is another's, it is not
    /// looked at any more. Blocks.
    ///
    /// # Errors
    /// Why there is nothing to see.
    pub(super) fn look(&mut self, at: Timestamp) -> Result<Batch, String> {
        if let Some(why) = &self.gone {
            return Err(why.clone());
        }
        let pid = self.name.pid;
        let sampler = match &mut self.sampler {
            Some(sampler) => sampler,
            none => none.insert(ProcessSampler::new(pid)?),
        };
        let mut rows = Rows::new(at);
        sampler.sample(&mut rows);
        // Asked afterwards: the process that has the pid now had it all the while.
        let why = match Sighting::of(pid) {
            Ok(Some(seen)) if Some(&seen.start) == self.name.start.as_ref() => {
                return Ok(rows.batch);
            }
            Ok(Some(_)) => format!("process {pid} has ended, and another process has its pid now"),
            Ok(None) => format!("process {pid} has ended"),
            // It may be seen the next time.
            Err(e) => return Err(format!("process {pid} cannot be looked at: {e}")),
        };
        self.sampler = None;
        let why = format!("{why}; register the agent again with its new pid");
        self.gone = Some(why.clone());
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::{
        collect::{pid_start, process::PROCESS_METRICS},
        model::SeriesKey,
    };

    const AT: Timestamp = Timestamp::from_millis(5);

    /// A process that does nothing until its standard input ends.
    fn child() -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().unwrap()
    }

    fn bound(pid: u32) -> BoundProcess {
        BoundProcess::new(ProcessName {
            pid,
            start: pid_start(pid),
        })
    }

    #[test]
    fn figures_until_the_end_and_nothing_after() {
        let mut child = child();
        let mut bound = bound(child.id());
        assert!(bound.is_new());
        bound.look(AT).unwrap();
        assert!(!bound.is_new());
        let batch = bound.look(AT).unwrap();
        let key = |row| SeriesKey::from_bytes(batch.key(row)).unwrap();
        let names: Vec<_> = batch
            .rows()
            .iter()
            .map(|row| key(row).name().to_owned())
            .collect();
        for name in PROCESS_METRICS {
            // Of the cpu two looks in a row tell nothing.
            let is_expected = name != crate::model::names::SYSTEM_CPU_USAGE;
            assert_eq!(names.contains(&name.to_owned()), is_expected, "{names:?}");
        }
        assert!(batch.rows().iter().all(|row| row.time == AT));

        child.kill().unwrap();
        // Nobody has waited for it, and yet it has ended.
        let pid = child.id();
        let why = loop {
            match bound.look(AT) {
                Ok(_) => std::thread::yield_now(),
                Err(why) => break why,
            }
        };
        let expected =
            format!("process {pid} has ended; register the agent again with its new pid");
        assert_eq!(why, expected);
        assert_eq!(pid_start(pid), None);
        child.wait().unwrap();
        assert_eq!(bound.look(AT).unwrap_err(), expected);
    }

    #[test]
    fn another_process_with_the_pid_is_not_taken_for_it() {
        let mut child = child();
        let mut stranger = BoundProcess::new(ProcessName {
            pid: child.id(),
            start: Some("this boot:1".to_owned()),
        });
        let why = stranger.look(AT).unwrap_err();
        assert!(why.contains("another process has its pid now"), "{why}");
        // It is not looked at again, whatever has the pid.
        stranger.name.start = pid_start(child.id());
        assert_eq!(stranger.look(AT).unwrap_err(), why);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_was_not_there_is_not_awaited() {
        let mut nobody = BoundProcess::new(ProcessName {
            pid: std::process::id(),
            start: None,
        });
        assert!(!nobody.is_new());
        let why = nobody.look(AT).unwrap_err();
        assert!(why.contains("when the agent was registered"), "{why}");
    }
}
