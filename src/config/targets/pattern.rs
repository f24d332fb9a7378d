//! Which files are target files.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::model::Glob;

/// Files that one pattern may find.
const FILES_MAX: usize = 1_000;

/// A path to target files, which may have `*` in its last component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPattern {
    text: String,
    folder: PathBuf,
    name: Glob,
}

impl TargetPattern {
    /// Reads a pattern. Source of the form: Prometheus, `discovery/file/file.go`, `patFileSDName`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let name = path
            .file_name()
            .and_then(OsStr::to_str)
            .filter(|name| text.ends_with(name))
            .ok_or_else(|| format!("`{text}` is not the path of a file"))?;
        if format_of(path).is_none() {
            return Err(format!(
                "`{text}` must end in .json, .yml or .yaml, which says how the file is read"
            ));
        }
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        if folder.to_string_lossy().contains('*') {
            return Err(format!(
                "`{text}`: only the last component of the path may have a `*`"
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            // The parent of a bare name is the working directory.
            folder: if folder.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                folder.to_owned()
            },
            name: Glob::new(name),
        })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folder that its files lie in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the path is that of one of its files.
    pub fn fits(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(OsStr::to_str);
        path.parent() == Path::new(&self.text).parent()
            && name.is_some_and(|name| self.name.fits(name))
    }

    /// The files that there are now, by name. A folder that is not there has none.
    ///
    /// # Errors
    /// The folder cannot be listed, or holds too many.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let there = |found: io::Result<fs::ReadDir>| match found {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        };
        let mut files = Vec::new();
        let Some(entries) = there(fs::read_dir(&self.folder))? else {
            return Ok(files);
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| self.name.fits(name)) else {
                continue;
            };
            if files.len() >= FILES_MAX {
                return Err(io::Error::other(format!(
                    "more than {FILES_MAX} files fit the pattern"
                )));
            }
            files.push(Path::new(&self.text).with_file_name(name));
        }
        files.sort();
        Ok(files)
    }
}

/// How a target file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// The format that the end of the name tells, as in Prometheus.
pub(super) fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "json" | "JSON" => Some(Format::Json),
        "yml" | "yaml" | "YML" | "YAML" => Some(Format::Yaml),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked() {
        for good in ["a.json", "/etc/t/*.YAML", "t/x-*.yml", "./*.json"] {
            assert!(TargetPattern::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "t/*/a.json",
            "*.toml",
            "/etc/targets/",
            "a.json/..",
        ] {
            assert!(TargetPattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b.json", "a.json", "c.yml", ".d.json"] {
            fs::write(at(name), "").unwrap();
        }
        let files = |pattern: &str| {
            let pattern = at(pattern);
            TargetPattern::new(pattern.to_str().unwrap())
                .unwrap()
                .files()
                .unwrap()
        };
        assert_eq!(files("*.json"), [at(".d.json"), at("a.json"), at("b.json")]);
        assert_eq!(files("c.yml"), [at("c.yml")]);
        assert!(files("d.yml").is_empty());
        assert!(files("none/*.yml").is_empty());
    }
}
