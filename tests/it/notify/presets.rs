//! Messages as services take them.

use super::listener::{Answer, Listener};
use super::{back_up, body, header, world};
use serde_json::Value;

/// What a service gets of a failure: the request as it came, and its document.
fn sent(preset: &str, path: &str, more: &str) -> (String, Value) {
    let server = Listener::start(Answer::Status(200, "ok"));
    let world = world(&format!(
        "[notify.x]\ntype = 'webhook'\npreset = '{preset}'\nurl = '{}'\n{more}\n",
        server.url(path)
    ));
    back_up(&world).exits(3).never_says("nobody was told");
    let request = server.requests().remove(0);
    let document = body(&request);
    (request, document)
}

fn is_message(text: &Value) {
    let text = text.as_str().unwrap();
    assert!(
        text.contains("backup FAILED: shop") && text.contains("shop.db"),
        "{text}"
    );
}

#[test]
fn ntfy_and_gotify() {
    let (request, document) = sent("ntfy", "/base/topic", "token = 'tk_123456'");
    assert!(request.starts_with("POST /base/ HTTP"), "{request}");
    assert_eq!(header(&request, "authorization"), "Bearer tk_123456");
    assert_eq!(
        (&document["topic"], &document["priority"]),
        (&"topic".into(), &5.into())
    );
    assert!(document["title"].as_str().unwrap().contains("FAILED"));
    let (request, document) = sent("gotify", "/gotify/", "token = 'AbCdEf'");
    assert!(
        request.starts_with("POST /gotify/message HTTP"),
        "{request}"
    );
    assert_eq!(header(&request, "x-gotify-key"), "AbCdEf");
    assert_eq!(document["priority"], 8);
}

#[test]
fn slack_discord_and_teams() {
    let (_, document) = sent("slack", "/services/T/B/x", "");
    is_message(&document["text"]);
    let (_, document) = sent("discord", "/api/webhooks/1/x", "");
    is_message(&document["content"]);
    assert_eq!(
        document["allowed_mentions"]["parse"],
        Value::Array(Vec::new())
    );
    let (_, document) = sent("teams", "/workflows/x", "");
    let card = &document["attachments"][0]["content"];
    assert_eq!(card["type"], "AdaptiveCard");
    let text = card["body"][1]["inlines"][0]["text"].as_str().unwrap();
    assert!(text.contains("shop.db"), "{text}");
}

#[test]
fn telegram_matrix_and_pushover() {
    let (request, document) = sent("telegram", "/bot1:x/sendMessage", "to = '-100123'");
    assert!(
        request.starts_with("POST /bot1:x/sendMessage HTTP"),
        "{request}"
    );
    assert_eq!(document["chat_id"], "-100123");
    is_message(&document["text"]);
    let (request, document) = sent("matrix", "/", "to = '!a:b.org'\ntoken = 'syt_abc'");
    let start = "PUT /_matrix/client/v3/rooms/%21a%3Ab%2Eorg/send/m.room.message/";
    assert!(request.starts_with(start), "{request}");
    assert_eq!(header(&request, "authorization"), "Bearer syt_abc");
    is_message(&document["body"]);
    let (_, document) = sent(
        "pushover",
        "/1/messages.json",
        "to = 'uKey'\ntoken = 'aToken'",
    );
    assert_eq!(
        (&document["user"], &document["token"]),
        (&"uKey".into(), &"aToken".into())
    );
    assert_eq!(document["priority"], 1);
}
