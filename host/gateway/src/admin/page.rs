//! The admin API as a page for people: made from its description, whole in one answer, without a script and without
//! anything from elsewhere, so that it can be read where there is no network.

use std::{fmt::Write as _, sync::OnceLock};

use axum::response::{Html, IntoResponse as _, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::openapi;

/// Answers `GET /admin/v1/`.
pub(crate) fn answer() -> Response {
    static PAGE: OnceLock<(String, HeaderValue)> = OnceLock::new();
    let (page, policy) = PAGE.get_or_init(|| (page(&openapi::document()), policy()));
    let mut response = Html(page.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Nothing but this page's own style: no script, no frame, no form, nothing from elsewhere.
fn policy() -> HeaderValue {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn page(document: &Value) -> String {
    let text = |at: &str| escaped(document.pointer(at).and_then(Value::as_str).unwrap_or_default());
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title} <small>{}</small></h1>\n<p>{}</p>\n\
         <p>For machines: <a href=\"/admin/v1/openapi.json\">openapi.json</a>.</p>\n<h2>Operations</h2>",
        text("/info/version"),
        text("/info/description"),
        title = text("/info/title"),
    );
    for (path, methods) in entries(document.get("paths")) {
        for (method, described) in entries(Some(methods)) {
            operation(&mut out, path, method, described);
        }
    }
    out.push_str("<h2>What is sent and answered</h2>\n");
    for (name, schema) in entries(document.pointer("/components/schemas")) {
        let name = escaped(name);
        let about = escaped(schema.get("description").and_then(Value::as_str).unwrap_or_default());
        let whole = escaped(&format!("{schema:#}"));
        let _ = writeln!(
            out,
            "<details id=\"{name}\"><summary><code>{name}</code> {about}</summary><pre tabindex=\"0\">{whole}</pre></details>"
        );
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn operation(out: &mut String, path: &str, method: &str, described: &Value) {
    let (path, method) = (escaped(path), escaped(&method.to_uppercase()));
    let text = |of: &Value, at: &str| escaped(of.pointer(at).and_then(Value::as_str).unwrap_or_default());
    let scope = match text(described, "/security/0/operator/0") {
        none if none.is_empty() => "no token".to_owned(),
        scope => scope,
    };
    let _ = writeln!(
        out,
        "<details><summary><b>{method}</b> <code>{path}</code> <i>{scope}</i><br>{}</summary>\n<dl>",
        text(described, "/summary")
    );
    for parameter in described.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let (name, place) = (text(parameter, "/name"), text(parameter, "/in"));
        let _ = writeln!(
            out,
            "<dt><code>{name}</code> ({place})</dt><dd>{}</dd>",
            text(parameter, "/description")
        );
    }
    if let Some(body) = described.pointer("/requestBody/content") {
        let _ = writeln!(out, "<dt>body</dt><dd>{}</dd>", types(body));
    }
    for (status, answer) in entries(described.get("responses")) {
        if status.starts_with('2') {
            let kinds = answer.get("content").map(types).unwrap_or_default();
            let _ = writeln!(
                out,
                "<dt>{}</dt><dd>{} {kinds}</dd>",
                escaped(status),
                text(answer, "/description")
            );
        }
    }
    let refusals: Vec<&str> = entries(described.get("responses"))
        .map(|(status, _)| status)
        .filter(|s| !s.starts_with('2'))
        .collect();
    let _ = writeln!(out, "<dt>refused</dt><dd>{}</dd>\n</dl></details>", escaped(&refusals.join(", ")));
}

/// The media types of a body, with where their schemas stand below.
fn types(content: &Value) -> String {
    let mut out = String::new();
    for (kind, described) in entries(Some(content)) {
        let _ = write!(out, "<code>{}</code> ", escaped(kind));
        let reference = described.pointer("/schema/$ref").and_then(Value::as_str);
        if let Some(name) = reference.and_then(|to| to.rsplit('/').next()).map(escaped) {
            let _ = write!(out, "<a href=\"#{name}\">{name}</a>");
        }
    }
    out
}

fn entries(object: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// As text and as an attribute.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

/// Follows the light and the dark of whoever reads it, and the width of what it is read on.
const STYLE: &str = "\
:root { color-scheme: light dark; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; background: light-dark(#fff, #14161a); color: light-dark(#1a1c20, #e4e6ea); }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
small, i { color: light-dark(#5a6068, #9aa2ac); font-weight: normal; }
a { color: light-dark(#0b57d0, #8ab4f8); }
details { border: 1px solid light-dark(#d0d4da, #343a42); border-radius: .4rem; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary:focus-visible, a:focus-visible, pre:focus-visible { outline: 2px solid currentcolor; outline-offset: 2px; }
b { display: inline-block; min-width: 4.5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; }
dt { margin-top: .4rem; }
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_operation_is_on_it_and_every_link_leads_somewhere() {
        let document = openapi::document();
        let page = page(&document);
        for (path, _) in entries(document.get("paths")) {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "{link}");
        }
        assert!(
            !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
            "{page}"
        );
        assert!(policy().to_str().unwrap().contains("style-src 'sha256-"));
    }

    #[test]
    fn what_is_written_cannot_become_markup() {
        let document = json!({ "info": { "title": "<script>\"&" }, "paths": { "/<b>": { "get": { "summary": "<i>" } } } });
        let page = page(&document);
        assert!(page.contains("&lt;script&gt;&quot;&amp;") && page.contains("/&lt;b&gt;"), "{page}");
        assert!(!page.contains("<script") && !page.contains("/<b>"), "{page}");
    }
}
