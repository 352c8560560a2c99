//! Sign-in: a one-time link shows a button, the button spends the code. A link that a mail or chat
//! program fetches for a preview is therefore not spent.

use askama::Template;
use axum::extract::{Extension, Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::Deserialize;
use tracing::info;

use crate::web::access::from_our_page;
use crate::web::access::{self, AskedFor, Caller, Peer};
use crate::web::assets;
use crate::web::frame::{self, Choice};
use crate::web::session;
use crate::web::words::Words;
use crate::web::{Refusal, Web};

/// The longest code that is looked at, in characters.
const MAX_CODE: usize = 100;

/// Routes that need no session, and signing out.
pub(crate) fn routes(web: &Web) -> Router<Web> {
    let out = Router::new()
        .route("/signout", post(sign_out))
        .route_layer(middleware::from_fn_with_state(web.clone(), access::signed_in));
    Router::new().route("/signin", get(confirm).post(spend)).merge(out)
}

/// What the sign-in page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Needed,
    Ready,
    Refused,
    SignedOut,
}

#[derive(Template)]
#[template(path = "signin.html")]
struct SigninPage {
    w: &'static Words,
    says: Says,
    code: String,
    command: &'static str,
    other_lang_href: String,
    style: String,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct FormToken {
    token: String,
}

fn shown(choice: &Choice, status: StatusCode, says: Says, code: &str) -> Response {
    let tag = Words::of(choice.lang).other_lang_tag;
    let other = if says == Says::Ready {
        format!("/signin?code={code}&lang={tag}")
    } else {
        format!("/signin?lang={tag}")
    };
    let page = SigninPage {
        w: choice.words(),
        says,
        code: code.to_owned(),
        command: "bailey signin",
        other_lang_href: other,
        style: assets::address("bailey.css"),
    };
    frame::page(choice, status, &page)
}

/// The answer to a page asked for without a session.
pub(crate) fn needed(request: &Request) -> Response {
    let choice = Choice::of(request.headers(), request.uri());
    shown(&choice, StatusCode::UNAUTHORIZED, Says::Needed, "")
}

async fn confirm(State(web): State<Web>, choice: Choice, request: Request) -> Response {
    let query = axum::extract::Query::<Code>::try_from_uri(request.uri());
    let code = query.map(|query| query.0.code).unwrap_or_default();
    if code.is_empty() {
        let says = if request.uri().query().is_some_and(|query| query.starts_with("out")) {
            Says::SignedOut
        } else {
            Says::Needed
        };
        return shown(&choice, StatusCode::OK, says, "");
    }
    let good = code.len() <= MAX_CODE && web.sessions().is_good(&code, web.site().now());
    if good {
        shown(&choice, StatusCode::OK, Says::Ready, &code)
    } else {
        shown(&choice, StatusCode::FORBIDDEN, Says::Refused, "")
    }
}

async fn spend(
    State(web): State<Web>,
    choice: Choice,
    peer: Option<Extension<Peer>>,
    asked_for: Option<Extension<AskedFor>>,
    headers: HeaderMap,
    form: Result<Form<Code>, axum::extract::rejection::FormRejection>,
) -> Response {
    let from_here = asked_for.is_some_and(|Extension(ours)| from_our_page(&headers, &ours));
    if !from_here {
        return frame::plain_error(&choice, StatusCode::FORBIDDEN, choice.words().error_forbidden);
    }
    let code = form.map(|Form(form)| form.code).unwrap_or_default();
    if code.len() > MAX_CODE {
        return shown(&choice, StatusCode::FORBIDDEN, Says::Refused, "");
    }
    let now = web.site().now();
    match web.sessions().spend(&code, now, &mut rand::rng()) {
        Ok(secret) => {
            info!(peer = ?peer.map(|Extension(peer)| peer), "signed in");
            let mut response = Redirect::to("/hosts").into_response();
            set_cookie(&mut response, &session::set_cookie(&secret));
            response
        }
        Err(refused) => {
            web.count_refusal(Refusal::Signin);
            info!(peer = ?peer.map(|Extension(peer)| peer), error = %refused, "sign-in refused");
            shown(&choice, StatusCode::FORBIDDEN, Says::Refused, "")
        }
    }
}

async fn sign_out(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
    asked_for: Option<Extension<AskedFor>>,
    headers: HeaderMap,
    form: Result<Form<FormToken>, axum::extract::rejection::FormRejection>,
) -> Response {
    let from_here = asked_for.is_some_and(|Extension(ours)| from_our_page(&headers, &ours));
    let token = form.map(|Form(form)| form.token).unwrap_or_default();
    match caller.session() {
        Some(session) if from_here && token == session.form_token => {
            web.sessions().end(session);
            let mut response = Redirect::to("/signin?out").into_response();
            set_cookie(&mut response, &session::clear_cookie());
            response
        }
        Some(_) | None => {
            frame::plain_error(&choice, StatusCode::FORBIDDEN, choice.words().error_forbidden)
        }
    }
}

fn set_cookie(response: &mut Response, cookie: &str) {
    let value = HeaderValue::from_str(cookie).expect("a cookie of our own is plain ASCII");
    response.headers_mut().insert(header::SET_COOKIE, value);
}
