//! What the committer remembers of agents' contacts, so that the health alert is decided in the very
//! commit that holds its cause. It can be rebuilt from the file at any time.

use crate::{
    alerts::{self, StatusInputs},
    model::{AgentNo, Contact, History, ReadError, Sample, Timestamp, names},
};

/// What a sample tells about contact with its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// `up`
    Up,
    /// `health_probe_up`
    Probe,
    /// `agent_contact`
    Contact,
}

impl Sign {
    /// The sign that a series with this canonical key gives. Only series without labels count: they are
    /// the ones that longwatch records.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let (length, name) = key.split_first()?;
        if usize::from(*length) != name.len() {
            return None;
        }
        [
            (names::UP, Self::Up),
            (names::HEALTH_PROBE_UP, Self::Probe),
            (names::AGENT_CONTACT, Self::Contact),
        ]
        .into_iter()
        .find(|(known, _)| known.as_bytes() == name)
        .map(|(_, sign)| sign)
    }
}

/// Bytes of an error that an alert tells.
const ERROR_BYTES_MAX: usize = 1_000;

fn clipped(error: &str) -> String {
    error[..error.floor_char_boundary(ERROR_BYTES_MAX)].to_owned()
}

/// The last contacts with one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    inputs: StatusInputs,
    scrape_error: Option<String>,
    probe_error: Option<String>,
}

impl Liveness {
    /// Reads the last contacts from history.
    pub(super) fn read(
        history: &dyn History,
        agent: AgentNo,
        at: Timestamp,
    ) -> Result<Self, ReadError> {
        let inputs = alerts::read_status_inputs(history, agent, at)?;
        Ok(Self {
            inputs,
            ..Self::default()
        })
    }

    /// Takes a sign in.
    pub(super) fn note(&mut self, sign: Sign, time: Timestamp, value: f64) {
        let sample = Sample { time, value };
        if sign == Sign::Up && value == 1.0 {
            self.inputs.last_up_ok = self.inputs.last_up_ok.max(Some(time));
        }
        let is_later = |last: Option<Sample>| last.is_none_or(|l| l.time <= time);
        match sign {
            Sign::Up if is_later(self.inputs.last_up) => {
                self.inputs.last_up = Some(sample);
            }
            Sign::Probe if is_later(self.inputs.last_probe) => {
                self.inputs.last_probe = Some(sample);
            }
            Sign::Contact => self.inputs.last_contact = self.inputs.last_contact.max(Some(time)),
            Sign::Up | Sign::Probe => {}
        }
    }

    /// Remembers why a contact failed.
    pub(super) fn note_error(&mut self, contact: &Contact) {
        match contact {
            Contact::Scrape { error } => self.scrape_error = error.as_deref().map(clipped),
            Contact::Probe { error } => self.probe_error = error.as_deref().map(clipped),
            Contact::Push => {}
        }
    }

    /// Forgets why contacts failed.
    pub(super) fn clear_errors(&mut self) {
        self.scrape_error = None;
        self.probe_error = None;
    }

    /// Why the last contact failed.
    pub(super) fn error(&self) -> Option<&str> {
        self.scrape_error.as_deref().or(self.probe_error.as_deref())
    }

    /// The last contacts.
    pub(super) const fn inputs(&self) -> StatusInputs {
        self.inputs
    }
}
