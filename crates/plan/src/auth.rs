//! The key of a neighbour, from the Secret that its object names.
//!
//! A neighbour whose key is not there, or is none, is planned and held down: a session without the key is not what its
//! author wrote, and an empty key would be one without.

use flatroute_api::objects::{Auth as ApiAuth, Secret, SecretKeyRef};
use flatroute_api::{Kind, Problem, ProblemReason};
use flatroute_bgp::speaker::{Auth, MAX_KEY_LEN, Md5Key};

use crate::filters::Context;

/// The key in the Secret unless named.
pub const DEFAULT_KEY: &str = "password";
/// How many keys of a Secret a message names.
const MAX_NAMED: usize = 5;

/// What is known of a neighbour's key.
pub(crate) struct Found {
    pub(crate) auth: Auth,
    /// Why the neighbour is held down, if it is.
    pub(crate) held: Option<String>,
    /// What to tell.
    pub(crate) problem: Option<Problem>,
}

pub(crate) fn auth(context: &Context<'_>, peer: &str, spec: Option<&ApiAuth>) -> Found {
    let Some(ApiAuth { md5 }) = spec else {
        return Found {
            auth: Auth::None,
            held: None,
            problem: None,
        };
    };
    let problem = |fault: &Fault| {
        let field = format!("spec.auth.md5.secretRef.{}", fault.field);
        Problem::new(
            Kind::BGPPeer.as_str(),
            peer,
            field,
            fault.message.clone(),
            fault.remedy.clone(),
        )
        .because(fault.reason)
    };
    match md5_key(context, &md5.secret_ref) {
        Ok((key, warning)) => Found {
            auth: Auth::Md5(key),
            held: None,
            problem: warning.as_ref().map(problem),
        },
        Err(mut fault) => {
            let held = format!("{}: {}", fault.reason, fault.message);
            fault.message.push_str("; the session is held down");
            Found {
                auth: Auth::None,
                held: Some(held),
                problem: Some(problem(&fault)),
            }
        }
    }
}

struct Fault {
    /// Below `secretRef`.
    field: &'static str,
    reason: ProblemReason,
    message: String,
    remedy: String,
}

/// The key, and what is odd about it.
fn md5_key(context: &Context<'_>, reference: &SecretKeyRef) -> Result<(Md5Key, Option<Fault>), Fault> {
    let name = &reference.name;
    let secret = secret(context, name)?;
    let key = reference.key.as_deref().unwrap_or(DEFAULT_KEY);
    let fault = |reason, message: String, remedy: String| Fault {
        field: "key",
        reason,
        message,
        remedy,
    };
    let Some(value) = secret.value(key) else {
        let there: Vec<&str> = secret.keys().take(MAX_NAMED).collect();
        let remedy = match there.as_slice() {
            [] => "add it to the Secret".to_owned(),
            there => format!(
                "add it to the Secret, or name the one that is meant, such as {}",
                there.join(", ")
            ),
        };
        let message = format!("Secret {name} has no key {key}");
        return Err(fault(ProblemReason::SecretKeyNotFound, message, remedy));
    };
    let octets = value.octets();
    let md5 = Md5Key::new(octets).map_err(|error| {
        let message = format!("Secret {name}, key {key}: {error}");
        let remedy =
            format!("give it from 1 to {MAX_KEY_LEN} octets, the same as the neighbour is configured with");
        fault(ProblemReason::SecretInvalid, message, remedy)
    })?;
    let warning = octets.ends_with(b"\n").then(|| {
        let message = format!(
            "Secret {name}, key {key} ends with a line break, which is used as a part of the key; neighbours seldom have such a one"
        );
        let remedy = "if it is not meant, encode the key by printf %s PASSWORD | base64 (echo adds the line break)";
        fault(ProblemReason::SecretEndsWithLineBreak, message, remedy.to_owned())
    });
    Ok((md5, warning))
}

/// The one Secret of this name. Among manifests the namespace says nothing, so a name that is there twice is no name.
fn secret<'a>(context: &Context<'a>, name: &str) -> Result<&'a Secret, Fault> {
    let mut all = context.state.secrets.iter().filter(|((_, n), _)| n == name);
    let fault = |reason, message: String, remedy: &str| Fault {
        field: "name",
        reason,
        message,
        remedy: remedy.to_owned(),
    };
    match (all.next(), all.next()) {
        (Some((_, secret)), None) => Ok(secret),
        (None, _) => Err(fault(
            ProblemReason::SecretNotFound,
            format!("there is no Secret {name}"),
            "add it, or correct the name",
        )),
        (Some(((one, _), _)), Some(((other, _), _))) => Err(fault(
            ProblemReason::SecretAmbiguous,
            format!("there are Secrets {name} in the namespaces \"{one}\" and \"{other}\""),
            "remove one of them, or give it another name",
        )),
    }
}
