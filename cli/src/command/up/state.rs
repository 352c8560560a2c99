//! The state folder: there, ours, and nobody else's at the moment.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::client::Door;
use crate::exit::{Exit, Failure};

/// Makes the state folder where it is missing, for this user alone, and tries that it can be
/// written. Gives its whole path.
///
/// # Errors
/// When it cannot be made or written.
pub(super) fn open(state: &Path) -> Result<PathBuf, Failure> {
    let cannot = |why: &std::io::Error| {
        let state = state.display();
        let denied =
            matches!(why.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
        Failure::new(
            if denied { Exit::Denied } else { Exit::Error },
            format!(
                "cannot write to the state folder {state}: {why}; run this as its owner, or choose \
                 another folder with --state DIR"
            ),
            format!(
                "无法写入状态目录 {state}：{why}；请以其所有者身份运行，或用 --state 指定其他目录"
            ),
        )
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(|e| cannot(&e))?;
    access(state, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|e| cannot(&e.into()))?;
    state.canonicalize().map_err(|e| cannot(&e))
}

/// Refuses to start beside a collector that runs on the same folder.
///
/// # Errors
/// When one answers.
pub(super) async fn refuse_a_second_one(state: &Path) -> Result<(), Failure> {
    if !Door::in_state(state).answers().await {
        return Ok(());
    }
    Err(already_running(state))
}

/// What to do when a collector runs on the folder already.
pub(super) fn already_running(state: &Path) -> Failure {
    let state = super::welcome::quoted(&state.display().to_string());
    Failure::error(
        format!(
            "Bailey runs on this state folder already; `bailey --state {state} signin` gives a link to \
             its page. To run a second one choose another folder with --state, --web and --agents"
        ),
        format!(
            "该状态目录上已有 Bailey 在运行；用 `bailey --state {state} signin` 可获得其页面的登录链接。\
             如需再运行一个，请用 --state、--web 和 --agents 另行指定"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_state_folder_is_for_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let state = parent.path().join("a/b");
        open(&state).unwrap();
        assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(open(&state).unwrap(), state.canonicalize().unwrap());
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_with_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failure = open(&file.join("state")).unwrap_err();
        assert_eq!(failure.exit, Exit::Error);
        assert!(failure.words.en.contains("--state") && failure.words.zh.contains("--state"));
    }
}
