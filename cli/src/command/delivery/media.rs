//! Orders on removable media: one file a host, which `bailey-agent apply` takes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bailey_rules::name::HostName;
use bailey_wire::order::SignedOrder;

use crate::exit::Failure;

/// The file of a host's order in `folder`. A host name holds nothing that leads elsewhere.
pub(in crate::command) fn path_of(folder: &Path, host: &HostName) -> PathBuf {
    folder.join(format!("{host}.order"))
}

/// Makes the folder, and sees that no order lies in it that one of these would replace: half a row
/// of orders on a medium would be worse than none.
pub(in crate::command) fn prepare<'a>(
    folder: &Path,
    hosts: impl Iterator<Item = &'a HostName>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|why| unwritten(folder, &why))?;
    for host in hosts {
        let path = path_of(folder, host);
        if path.symlink_metadata().is_ok() {
            return Err(unwritten(&path, &io::Error::from(io::ErrorKind::AlreadyExists)));
        }
    }
    Ok(())
}

/// Writes one order, whole or not at all. Rulesets tell much of a network: the file is for its
/// owner alone where the medium knows owners.
pub(in crate::command) fn write(
    folder: &Path,
    host: &HostName,
    order: &SignedOrder,
) -> Result<PathBuf, Failure> {
    let path = path_of(folder, host);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|why| unwritten(&path, &why))?;
    let done = file.write_all(&order.to_file()).and_then(|()| file.sync_all());
    done.map_err(|why| {
        let _ = fs::remove_file(&path);
        unwritten(&path, &why)
    })?;
    Ok(path)
}

fn unwritten(path: &Path, why: &io::Error) -> Failure {
    let shown = path.display();
    match why.kind() {
        io::ErrorKind::AlreadyExists => Failure::error(
            format!("{shown} exists and is not written over; name an empty folder with --to"),
            format!("{shown} 已存在，不会覆盖；请用 --to 指定空目录"),
        ),
        _ => Failure::error(
            format!("cannot write {shown}: {why}"),
            format!("无法写入 {shown}：{why}"),
        ),
    }
}
