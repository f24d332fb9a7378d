//! Output for people and programs: standard output, files, colour.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempPath};

use super::{
    command::usage,
    failure::{Failure, Status},
};

/// Whether escape codes may be written to the stream: it is a terminal, and `NO_COLOR` is not set
/// (<https://no-color.org>: an empty value does not count).
pub(super) fn may_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to standard output.
///
/// # Errors
/// A reader that is gone (`| head`) ends the command without a complaint.
pub(super) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text).and_then(|()| out.flush()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::told(Status::Unread),
        _ => Failure::new(Status::NotHeld, format!("standard output: {e}")),
    })
}

/// Says on stderr why something failed, as one line.
pub(super) fn tell_error(reason: &str) {
    let mut err = io::stderr().lock();
    let word = if may_colour(&err) {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    // There is no better place to complain to.
    let _ = writeln!(err, "longwatch: {word} {}", printable(reason));
}

/// Writes a line to stderr as it is, control characters made visible.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(line));
}

/// The text with every control character shown as `\u{..}`, so that what came from elsewhere cannot
/// steer a terminal or begin a line of its own.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// JSON as people like to read it, with a line's end.
pub(super) fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// A file that appears under its name only once it is complete.
pub(super) struct NewFile {
    name: PathBuf,
    temporary: TempPath,
    may_replace: bool,
}

impl NewFile {
    /// Begins a file that only its owner can read, as it holds a database.
    pub(super) fn private(name: &Path, may_replace: bool) -> Result<(Self, File), Failure> {
        Self::begin(name, may_replace, &tempfile::Builder::new())
    }

    /// Begins a file with the permissions that new files have, replacing an older one.
    pub(super) fn shared(name: &Path) -> Result<(Self, File), Failure> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        Self::begin(name, true, &builder)
    }

    fn begin(
        name: &Path,
        may_replace: bool,
        builder: &tempfile::Builder<'_, '_>,
    ) -> Result<(Self, File), Failure> {
        refuse_existing(name, may_replace)?;
        // Beside its name, since a rename cannot cross file systems.
        let (file, temporary) = builder
            .tempfile_in(folder_of(name))
            .map_err(|e| Failure::file(name, &e))
            .map(NamedTempFile::into_parts)?;
        let new = Self {
            name: name.to_owned(),
            temporary,
            may_replace,
        };
        Ok((new, file))
    }

    /// Gives the file its name, once it is on disk.
    pub(super) fn finish(self, file: &File) -> Result<(), Failure> {
        let name = self.name;
        file.sync_all().map_err(|e| Failure::file(&name, &e))?;
        give_name(self.temporary, &name, self.may_replace)
    }
}

/// Refuses a name that is taken, unless it may be replaced.
pub(super) fn refuse_existing(name: &Path, may_replace: bool) -> Result<(), Failure> {
    if !may_replace && name.symlink_metadata().is_ok() {
        return Err(usage(format!(
            "{}: exists already; --force replaces it",
            name.display()
        )));
    }
    Ok(())
}

/// Renames a complete file to its name.
pub(super) fn give_name(
    temporary: TempPath,
    name: &Path,
    may_replace: bool,
) -> Result<(), Failure> {
    let renamed = if may_replace {
        temporary.persist(name)
    } else {
        temporary.persist_noclobber(name)
    };
    renamed.map_err(|e| Failure::file(name, &e.error))?;
    // The name lasts once its folder is on disk; not every system can do that.
    let _ = File::open(folder_of(name)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder_of(name: &Path) -> &Path {
    match name.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\x1b[31m\nb ä"), "a\\u{1b}[31m\\nb ä");
    }

    #[test]
    fn files_appear_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("out");
        let (new, mut file) = NewFile::private(&name, false).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!name.exists());
        new.finish(&file).unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"one");

        assert_eq!(
            NewFile::private(&name, false).err().unwrap().status(),
            Status::Usage
        );
        let (abandoned, mut file) = NewFile::private(&name, true).unwrap();
        file.write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read(&name).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let (new, mut file) = NewFile::shared(&name).unwrap();
        file.write_all(b"two").unwrap();
        new.finish(&file).unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"two");
    }
}
