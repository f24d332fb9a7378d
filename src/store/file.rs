//! Opening the file: telling foreign, old, new, damaged and busy files apart, making a new one,
//! migrating an old one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};

use super::{
    OpenError,
    backend::{
        DiskBackend, DiskMedium, FileCounters, Lease, LeasedBackend, Medium, OverlayBackend,
        lock_exclusively, lock_shared,
    },
    committer::begin,
    forwarding::SpooledLog,
    inventory::Inventory,
    migrations::STEPS,
    quiet,
    shared::Engine,
    tables::{self, meta},
};

/// First bytes of every file of the engine.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// Newest schema version that this binary knows.
pub(super) fn schema_version_known() -> u32 {
    STEPS.last().map_or(0, |step| step.version)
}

/// Facts of `meta`.
#[derive(Clone, Debug, Default)]
pub(super) struct FileFacts {
    pub(super) schema_version: u32,
    pub(super) file_id: [u8; 16],
    pub(super) created_ms: i64,
    pub(super) last_commit_ms: Option<i64>,
    pub(super) next_sequence: u64,
    pub(super) next_occurrence: u64,
    pub(super) next_delivery: u64,
    pub(super) next_series: u32,
    /// Whether it is the spool of an agent, not a database.
    pub(super) is_spool: bool,
    /// Sequence up to which the log was forwarded.
    pub(super) forwarded: Option<u64>,
    /// What of the log is there for forwarding alone.
    pub(super) spooled: SpooledLog,
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing { path },
        io::ErrorKind::WouldBlock => OpenError::InUse { path },
        _ => OpenError::Io { path, source },
    }
}

pub(super) fn damaged(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn engine_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
            path: path.to_owned(),
        },
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            io_error(path, source)
        }
        other => damaged(path, other),
    }
}

/// What kept a file that opened well from being written.
pub(super) fn write_error(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) => io_error(path, source),
        other => damaged(path, other),
    }
}

/// Runs `work` on pages that may be damaged: a panic of the engine becomes an error.
pub(super) fn on_untrusted_pages<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    quiet::quietly(|| catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or_else(|_| Err(damaged(path, "the engine gave up on a damaged page")))
}

/// Checks the first bytes, so that other programs' files are named as such.
fn check_magic(path: &Path, file: &mut File) -> Result<(), OpenError> {
    let metadata = file.metadata().map_err(|e| io_error(path, e))?;
    if !metadata.is_file() {
        return Err(OpenError::Foreign {
            path: path.to_owned(),
            why: "not a regular file".to_owned(),
        });
    }
    let mut first = [0; MAGIC.len()];
    let why = match file.read_exact(&mut first) {
        Ok(()) if first == MAGIC => return Ok(()),
        Ok(()) => "its first bytes are those of another program's file",
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            "it is shorter than a database's header"
        }
        Err(e) => return Err(io_error(path, e)),
    };
    Err(OpenError::Foreign {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

fn build(
    path: &Path,
    cache_bytes: usize,
    backend: impl StorageBackend,
) -> Result<Database, OpenError> {
    on_untrusted_pages(path, || {
        Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(|e| engine_error(path, e))
    })
}

/// Gives a medium another engine.
pub(super) fn attach(
    path: &Path,
    medium: &dyn Medium,
    counters: &Arc<FileCounters>,
    cache_bytes: usize,
) -> Result<Engine, OpenError> {
    let lease = Arc::new(Lease::default());
    let backend = medium
        .backend()
        .and_then(|inner| LeasedBackend::new(inner, Arc::clone(counters), Arc::clone(&lease)))
        .map_err(|e| io_error(path, e))?;
    Ok(Engine {
        database: Arc::new(build(path, cache_bytes, backend)?),
        inventory: Arc::new(Inventory::default()),
        lease,
    })
}

/// A database that is open for writing.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) facts: FileFacts,
    pub(super) medium: Box<dyn Medium>,
    pub(super) counters: Arc<FileCounters>,
}

/// Opens the file for writing, makes it when it is missing, migrates it when it is old.
pub(super) fn open_for_writing(
    path: &Path,
    cache_bytes: usize,
    now_ms: i64,
    is_spool: bool,
) -> Result<Opened, OpenError> {
    if !path.try_exists().map_err(|e| io_error(path, e))? {
        // A link to a place where nothing is yet gets its database there.
        let linked = std::fs::read_link(path).ok();
        let parent = path.parent().unwrap_or(Path::new(""));
        create(
            &linked.map_or_else(|| path.to_owned(), |to| parent.join(to)),
            now_ms,
            is_spool,
        )?;
    }
    let opened = open_existing(path, cache_bytes)?;
    if opened.facts.is_spool != is_spool {
        let why = if is_spool {
            "this is a database; `longwatch agent` needs a spool of its own"
        } else {
            "this is the spool of `longwatch agent`; start that, or name another database"
        };
        return Err(OpenError::OtherKind {
            path: path.to_owned(),
            why,
        });
    }
    Ok(opened)
}

/// Opens a file that is there for writing, migrates it when it is old.
pub(super) fn open_existing(path: &Path, cache_bytes: usize) -> Result<Opened, OpenError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| io_error(path, e))?;
    lock_exclusively(&file).map_err(|e| io_error(path, e))?;
    check_magic(path, &mut file)?;
    let before_migration = file.try_clone().map_err(|e| io_error(path, e))?;
    let counters = Arc::new(FileCounters::default());
    let medium = Box::new(DiskMedium(file));
    let engine = attach(path, &*medium, &counters, cache_bytes)?;
    let mut facts = on_untrusted_pages(path, || read_facts(path, &engine.database))?;
    if facts.schema_version != schema_version_known() {
        keep_copy_of_old(path, &before_migration, facts.schema_version)?;
        migrate(path, &engine.database, facts.schema_version)?;
        facts = read_facts(path, &engine.database)?;
    }
    Ok(Opened {
        engine,
        facts,
        medium,
        counters,
    })
}

/// A database on a copy that is only read.
#[derive(Debug)]
pub(super) struct OpenedCopy {
    pub(super) database: Database,
    pub(super) facts: FileFacts,
    pub(super) file_bytes: u64,
}

/// Opens a copy. Every page is checked against the engine's checksums first: a torn copy can open and
/// then lie.
pub(super) fn open_copy(path: &Path, cache_bytes: usize) -> Result<OpenedCopy, OpenError> {
    let mut copy = open_unchecked_copy(path, cache_bytes)?;
    copy.check_pages(path)?;
    Ok(copy)
}

/// Opens a copy without a look at its pages. Nothing is written to the file, not even where it could be.
pub(super) fn open_unchecked_copy(
    path: &Path,
    cache_bytes: usize,
) -> Result<OpenedCopy, OpenError> {
    let mut file = File::open(path).map_err(|e| io_error(path, e))?;
    lock_shared(&file).map_err(|e| io_error(path, e))?;
    check_magic(path, &mut file)?;
    let file_bytes = file.metadata().map_err(|e| io_error(path, e))?.len();
    let overlay = OverlayBackend::new(file).map_err(|e| io_error(path, e))?;
    let database = build(path, cache_bytes, overlay)?;
    let facts = on_untrusted_pages(path, || {
        let facts = read_facts(path, &database)?;
        if facts.schema_version < schema_version_known() {
            migrate(path, &database, facts.schema_version)?;
            return read_facts(path, &database);
        }
        Ok(facts)
    })?;
    Ok(OpenedCopy {
        database,
        facts,
        file_bytes,
    })
}

impl OpenedCopy {
    /// Holds every page against its checksum. A repair that the engine makes is in memory and not asked
    /// for: it would go back to an older commit.
    pub(super) fn check_pages(&mut self, path: &Path) -> Result<(), OpenError> {
        on_untrusted_pages(path, || match self.database.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(damaged(path, "pages do not match their checksums")),
            Err(error) => Err(engine_error(path, error)),
        })
    }
}

/// Makes a new file under another name first, so that a kill in between leaves no half-made database.
fn create(path: &Path, now_ms: i64, is_spool: bool) -> Result<(), OpenError> {
    let directory = folder_of(path);
    if !directory.is_dir() {
        let why = format!("there is no folder {}", directory.display());
        let source = io::Error::new(io::ErrorKind::NotADirectory, why);
        return Err(OpenError::Io {
            path: path.to_owned(),
            source,
        });
    }
    let temporary = tempfile::Builder::new()
        .prefix(".longwatch-")
        .suffix(".new")
        .tempfile_in(directory)
        .map_err(|source| OpenError::Io {
            path: path.to_owned(),
            source,
        })?;
    let file = temporary
        .as_file()
        .try_clone()
        .map_err(|e| io_error(path, e))?;
    let database = build(path, 1 << 20, DiskBackend(file))?;
    initialise(&database, random_id(), now_ms).map_err(|e| damaged(path, e))?;
    if is_spool {
        call_spool(&database).map_err(|e| damaged(path, e))?;
    }
    drop(database);
    temporary
        .as_file()
        .sync_all()
        .map_err(|e| io_error(path, e))?;
    match temporary.persist_noclobber(path) {
        // Somebody else made it in the meantime: theirs is as good.
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(io_error(path, e.error)),
        Ok(_) => {
            let synced = File::open(directory).and_then(|d| d.sync_all());
            synced.map_err(|e| io_error(path, e))
        }
    }
}

/// Makes the tables of a fresh database.
pub(super) fn initialise(
    database: &Database,
    file_id: [u8; 16],
    now_ms: i64,
) -> Result<(), redb::Error> {
    for step in STEPS {
        let transaction = begin(database)?;
        (step.apply)(&transaction)?;
        transaction.commit()?;
    }
    let transaction = begin(database)?;
    {
        let mut table = transaction.open_table(tables::META)?;
        table.insert(meta::KIND, meta::KIND_DATABASE)?;
        table.insert(meta::FILE_ID, &file_id[..])?;
        table.insert(meta::CREATED, &now_ms.to_le_bytes()[..])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Makes a fresh database a spool.
fn call_spool(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin(database)?;
    transaction
        .open_table(tables::META)?
        .insert(meta::KIND, meta::KIND_SPOOL)?;
    transaction.commit()?;
    Ok(())
}

/// 128 bits from the operating system, by way of the standard library's hash keys.
pub(super) fn random_id() -> [u8; 16] {
    use std::hash::{BuildHasher, RandomState};
    let word = || {
        RandomState::new()
            .hash_one(std::process::id())
            .to_le_bytes()
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&word());
    id[8..].copy_from_slice(&word());
    id
}

pub(super) fn read_facts(path: &Path, database: &Database) -> Result<FileFacts, OpenError> {
    let foreign = |why: &str| OpenError::Foreign {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let transaction = database.begin_read().map_err(|e| damaged(path, e))?;
    let table = match transaction.open_table(tables::META) {
        Ok(table) => table,
        Err(redb::TableError::Storage(error)) => return Err(damaged(path, error)),
        Err(_) => return Err(foreign("a redb database without longwatch's tables")),
    };
    let get = |name: &str| -> Result<Option<Vec<u8>>, OpenError> {
        let value = table.get(name).map_err(|e| damaged(path, e))?;
        Ok(value.map(|v| v.value().to_vec()))
    };
    let kind = get(meta::KIND)?;
    match &kind {
        Some(kind) if [meta::KIND_DATABASE, meta::KIND_SPOOL].contains(&kind.as_slice()) => {}
        Some(_) => return Err(foreign("a longwatch file of another kind")),
        None => return Err(foreign("a redb database without longwatch's tables")),
    }
    let number = |name: &str| -> Result<Option<i64>, OpenError> {
        let Some(bytes) = get(name)? else {
            return Ok(None);
        };
        let bytes = bytes
            .try_into()
            .map_err(|_| damaged(path, format!("`{name}` has the wrong length")))?;
        Ok(Some(i64::from_le_bytes(bytes)))
    };
    let version = get(meta::SCHEMA_VERSION)?
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| damaged(path, "it has no schema version"))?;
    let known = schema_version_known();
    if version > known {
        let what = format!("schema {version}");
        return Err(OpenError::TooNew {
            path: path.to_owned(),
            what,
            known,
        });
    }
    if version == 0 {
        return Err(OpenError::TooOld {
            path: path.to_owned(),
            found: version,
            oldest: 1,
        });
    }
    Ok(FileFacts {
        schema_version: version,
        file_id: get(meta::FILE_ID)?
            .and_then(|b| b.try_into().ok())
            .unwrap_or_default(),
        created_ms: number(meta::CREATED)?.unwrap_or_default(),
        last_commit_ms: number(meta::LAST_COMMIT)?,
        next_sequence: number(meta::NEXT_SEQUENCE)?.unwrap_or(1) as u64,
        next_occurrence: number(meta::NEXT_OCCURRENCE)?.unwrap_or(0) as u64,
        next_delivery: number(meta::NEXT_DELIVERY)?.unwrap_or(0) as u64,
        next_series: get(meta::NEXT_SERIES)?
            .map(|bytes| {
                let bytes = bytes.try_into().map(u32::from_le_bytes);
                bytes.map_err(|_| damaged(path, "`next_series` has the wrong length"))
            })
            .transpose()?
            .unwrap_or(0),
        is_spool: kind.as_deref() == Some(meta::KIND_SPOOL),
        forwarded: number(meta::FORWARDED)?.map(|sequence| sequence as u64),
        spooled: SpooledLog::decode(&get(meta::SPOOLED)?.unwrap_or_default())
            .map_err(|why| damaged(path, format!("`spooled`: {why}")))?,
    })
}

/// Brings the schema from `version` to the newest, a transaction per step.
pub(super) fn migrate(path: &Path, database: &Database, version: u32) -> Result<(), OpenError> {
    for step in STEPS.iter().filter(|step| step.version > version) {
        let apply = || -> Result<(), redb::Error> {
            let transaction = begin(database)?;
            (step.apply)(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        apply().map_err(|e| {
            damaged(
                path,
                format!("migration to schema {} failed: {e}", step.version),
            )
        })?;
    }
    Ok(())
}

/// Keeps the file as it was before a migration, as `NAME.schema-N`, or `NAME.schema-N.2` and so on where there is one
/// already. It gets its name when it is whole, so that a kill leaves no half of it under that name.
fn keep_copy_of_old(path: &Path, file: &File, version: u32) -> Result<(), OpenError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = folder_of(path);
    let copied = tempfile::Builder::new()
        .prefix(".longwatch-")
        .suffix(".old")
        .tempfile_in(directory)
        .and_then(|mut copy| {
            let mut source = file;
            io::Seek::rewind(&mut source)?;
            io::copy(&mut source, &mut copy)?;
            copy.as_file().sync_all()?;
            Ok(copy)
        });
    let mut copy = copied.map_err(|e| io_error(path, e))?;
    for count in 1.. {
        let number = if count == 1 {
            String::new()
        } else {
            format!(".{count}")
        };
        let to = path.with_file_name(format!("{name}.schema-{version}{number}"));
        match copy.persist_noclobber(&to) {
            Ok(_) => break,
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => copy = e.file,
            Err(e) => return Err(io_error(&to, e.error)),
        }
    }
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|e| io_error(path, e))
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
