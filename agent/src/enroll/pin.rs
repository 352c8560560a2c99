//! A token may say whose orders the host is to follow: then that key is pinned at enrolment.

use std::path::{Path, PathBuf};

use bailey_wire::order::VerifyingKey;

use super::EnrollError;
use crate::enforce::socket::{Answer, AskError, Refusal, Request, ask};
use crate::folder::StateFolder;

/// Where the key of a token went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinnedAt {
    /// The enforcer follows it.
    Enforcer,
    /// No enforcer could be told; the key lies in the state folder until somebody pins it.
    Folder {
        /// The file that `bailey-agent pin` takes.
        file: PathBuf,
        /// Why the enforcer could not be told.
        why: String,
    },
    /// The enforcer refused it.
    Nowhere {
        /// Why.
        why: String,
    },
}

/// Has the enforcer at `socket` follow the orders of `key`, for the host that is enrolled in
/// `folder`. An enforcer that follows them already is as good.
///
/// # Errors
/// When the folder cannot be read or written, or the enforcer's answer is not understood.
pub async fn pin_at_enrolment(
    key: &VerifyingKey,
    folder: &StateFolder,
    socket: &Path,
) -> Result<PinnedAt, EnrollError> {
    let host = folder.credentials()?.key.host_key();
    let request = Request::Pin { key: key.to_pem(), host };
    let why = match ask(socket, &request, &[]).await {
        Ok(Answer::Done(_)) => return Ok(PinnedAt::Enforcer),
        Ok(Answer::Refused { error: Refusal::AlreadyPinned, why }) => {
            let Answer::Done(status) = ask(socket, &Request::Status, &[]).await? else {
                return Ok(PinnedAt::Nowhere { why });
            };
            if status.key == Some(key.id().to_string()) && status.host == Some(host) {
                return Ok(PinnedAt::Enforcer);
            }
            return Ok(PinnedAt::Nowhere { why });
        }
        Ok(Answer::Refused { error: Refusal::NotAllowed, why }) => why,
        Ok(Answer::Refused { error: _, why }) => return Ok(PinnedAt::Nowhere { why }),
        Err(away @ AskError::Away { .. }) => away.to_string(),
        Err(error @ AskError::NotUnderstood(_)) => return Err(error.into()),
    };
    Ok(PinnedAt::Folder { file: folder.keep_security_key(key)?, why })
}
