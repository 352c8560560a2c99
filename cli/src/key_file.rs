//! The files of the security role's key. The private one is for its owner alone, is never written
//! over, and no word of it is ever shown.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bailey_wire::order::{MAX_KEY_FILE, OrderError, SigningKey, VerifyingKey};

use crate::exit::{Exit, Failure};

/// What a private key's file may be for others.
const OF_OTHERS: u32 = 0o077;

/// Reads a private key.
///
/// # Errors
/// When it cannot be read, others may read it, or it is no key.
pub fn private(path: &Path) -> Result<SigningKey, Failure> {
    let shown = path.display();
    let file = open(path)?;
    let about = file.metadata().map_err(|why| unreadable(path, &why))?;
    if !about.is_file() {
        return Err(Failure::error(
            format!("{shown} is not a file; keys are read from files only"),
            format!("{shown} 不是普通文件；密钥只能从文件读取"),
        ));
    }
    if about.mode() & OF_OTHERS != 0 {
        return Err(Failure::new(
            Exit::Denied,
            format!(
                "others may read {shown}; run chmod 600 {shown}, and make a new key if they did"
            ),
            format!("他人可以读取 {shown}；请执行 chmod 600 {shown}；若已被他人读取，请更换密钥"),
        ));
    }
    SigningKey::from_pem(&text_of(path, file)?).map_err(|error| wrong(path, &error))
}

/// Reads a public key.
///
/// # Errors
/// When it cannot be read or is none.
pub fn public(path: &Path) -> Result<VerifyingKey, Failure> {
    VerifyingKey::from_pem(&text_of(path, open(path)?)?).map_err(|error| wrong(path, &error))
}

/// Where the public key of the private one in `path` lies.
#[must_use]
pub fn public_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Writes a private key to `path`, for its owner alone, and its public key beside it.
///
/// # Errors
/// When one of the files exists or cannot be written; neither is there then that was not before.
pub fn write(path: &Path, key: &SigningKey) -> Result<(), Failure> {
    let beside = public_beside(path);
    let pem = key.to_pem().map_err(|error| wrong(path, &error))?;
    written(path, 0o600, &pem)?;
    let public = written(&beside, 0o644, &key.verifying_key().to_pem());
    if public.is_err() {
        // Made a moment ago, and nobody follows it.
        let _ = fs::remove_file(path);
    }
    public
}

fn open(path: &Path) -> Result<File, Failure> {
    // A pipe nobody writes to would hold up everything.
    let flags = nix::libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|why| unreadable(path, &why))
}

fn text_of(path: &Path, file: File) -> Result<String, Failure> {
    let most = u64::try_from(MAX_KEY_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).map_err(|why| unreadable(path, &why))?;
    Ok(text)
}

fn written(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |why: &io::Error| match why.kind() {
        io::ErrorKind::AlreadyExists => Failure::error(
            format!("{shown} exists and is not written over; name another file with --out"),
            format!("{shown} 已存在，不会覆盖；请用 --out 指定其他文件"),
        ),
        _ => Failure::error(
            format!("cannot write {shown}: {why}"),
            format!("无法写入 {shown}：{why}"),
        ),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|why| failed(&why))?;
    let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    done.map_err(|why| {
        let _ = fs::remove_file(path);
        failed(&why)
    })
}

fn unreadable(path: &Path, why: &io::Error) -> Failure {
    let shown = path.display();
    let exit = match why.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Error,
    };
    Failure::new(exit, format!("cannot read {shown}: {why}"), format!("无法读取 {shown}：{why}"))
}

fn wrong(path: &Path, error: &OrderError) -> Failure {
    let shown = path.display();
    Failure::error(format!("{shown}: {error}"), format!("{shown}：密钥有误：{error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_written_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("security.key");
        let key = SigningKey::generate().unwrap();
        write(&path, &key).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&public_beside(&path))), (0o600, 0o644));
        assert_eq!(private(&path).unwrap().verifying_key(), key.verifying_key());
        assert_eq!(public(&public_beside(&path)).unwrap(), key.verifying_key());

        let before = fs::read(&path).unwrap();
        let again = write(&path, &SigningKey::generate().unwrap()).unwrap_err();
        assert!(again.words.en.contains("not written over"), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        // Nor is the private half left behind when the public one stands in the way.
        let other = folder.path().join("other.key");
        fs::write(public_beside(&other), "").unwrap();
        assert!(write(&other, &key).is_err());
        assert!(!other.exists());
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used_and_no_key_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("security.key");
        assert_eq!(private(&path).unwrap_err().exit, Exit::NotFound);
        write(&path, &SigningKey::generate().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = private(&path).unwrap_err();
        assert_eq!(exposed.exit, Exit::Denied);
        assert!(exposed.words.zh.contains("chmod 600"), "{exposed:?}");
        // The halves are not mixed up, and what is wrong says nothing of the key.
        let secret = fs::read_to_string(&path).unwrap();
        let secret = secret.lines().nth(1).unwrap();
        let mixed = public(&path).unwrap_err();
        assert!(!mixed.words.en.contains(secret) && mixed.words.en.contains("bailey policy key"));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(private(&pipe).unwrap_err().words.en.contains("not a file"));
        assert!(private(folder.path()).is_err());
    }
}
