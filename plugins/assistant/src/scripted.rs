//! A model that works offline: a few rules instead of a network, and honest about it.
//!
//! It asks for the calculator where the person asks for a calculation, for the clock where they ask for the time, looks
//! into the conversation where they ask what was said, and otherwise says what it is and what it can do.

use agent_plugin_api::{
    Value, json,
    model::{ChatModel, ChatStream},
    protocol::{
        call::Usage,
        chat::{ChatChunk, ChatMessage, ChatRequest, ChatRole, ChatToolCall},
    },
};
use futures_util::stream;

/// See the module.
pub(crate) struct Scripted;

impl ChatModel for Scripted {
    fn stream<'a>(&'a self, request: ChatRequest) -> ChatStream<'a> {
        Box::pin(stream::iter(answer(&request).into_iter().map(Ok)))
    }
}

/// The whole answer, as the pieces in which a model would send it.
fn answer(request: &ChatRequest) -> Vec<ChatChunk> {
    let mut chunks = Vec::new();
    match decide(request) {
        Decision::Ask { thought, tool, arguments } => {
            chunks.push(ChatChunk::Thinking(thought));
            chunks.push(ChatChunk::ToolCall(ChatToolCall {
                id: format!("call-{}", request.messages.len()),
                name: tool.to_owned(),
                arguments,
            }));
        }
        Decision::Say { thought, text } => {
            chunks.push(ChatChunk::Thinking(thought));
            chunks.extend(text.split_inclusive(' ').map(|word| ChatChunk::Text(word.to_owned())));
        }
    }
    chunks.push(ChatChunk::Done(cost(request, &chunks)));
    chunks
}

#[derive(Debug, PartialEq)]
enum Decision {
    Ask { thought: String, tool: &'static str, arguments: Value },
    Say { thought: String, text: String },
}

fn decide(request: &ChatRequest) -> Decision {
    if let Some(result) = request.messages.last().filter(|m| m.role == ChatRole::Tool) {
        return from_tool(request, result);
    }
    let asked = last_of(request, ChatRole::User).unwrap_or_default();
    let lower = asked.to_lowercase();
    if let Some(expression) = expression(asked).filter(|_| granted(request, "calculator")) {
        return Decision::Ask {
            thought: format!("that is a calculation: {expression}"),
            tool: "calculator",
            arguments: json!({"expression": expression}),
        };
    }
    if ["time", "date", "clock", "today"].iter().any(|w| words(&lower).any(|word| word == *w))
        && granted(request, "clock")
    {
        return Decision::Ask {
            thought: "I need the clock for that".to_owned(),
            tool: "clock",
            arguments: json!({}),
        };
    }
    if ["before", "earlier", "remember", "said"].iter().any(|w| words(&lower).any(|word| word == *w)) {
        return recall(request);
    }
    introduce(request)
}

fn from_tool(request: &ChatRequest, result: &ChatMessage) -> Decision {
    let value: Value = result.content.parse().unwrap_or(Value::Null);
    let text = match value.get("message").and_then(Value::as_str).filter(|_| value.get("error").is_some()) {
        Some(problem) => format!("I could not work that out: {problem}."),
        None => {
            let asked = request.messages.iter().rev().find_map(|m| m.tool_calls.first());
            let shown = ["result", "time", "now"].iter().find_map(|k| value.get(k)).unwrap_or(&value);
            let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
            match asked.and_then(|call| call.arguments.get("expression")).and_then(Value::as_str) {
                Some(expression) => format!("{expression} = {shown}"),
                None => format!("It is {shown}."),
            }
        }
    };
    Decision::Say { thought: "I have what I asked for".to_owned(), text }
}

fn recall(request: &ChatRequest) -> Decision {
    let earlier: Vec<&str> = request
        .messages
        .iter()
        .filter(|m| m.role == ChatRole::User)
        .map(|m| m.content.as_str())
        .rev()
        .skip(1)
        .take(3)
        .collect();
    let text = if earlier.is_empty() {
        "Nothing was said before in this conversation.".to_owned()
    } else {
        let listed: Vec<String> =
            earlier.iter().rev().map(|said| format!("\u{201c}{said}\u{201d}")).collect();
        format!("Before this you said: {}.", listed.join(", then "))
    };
    Decision::Say { thought: "looking through the conversation".to_owned(), text }
}

fn introduce(request: &ChatRequest) -> Decision {
    let tools: Vec<&str> = request.tools.iter().map(|t| t.name.as_str()).collect();
    let tools =
        if tools.is_empty() { "no tools".to_owned() } else { format!("these tools: {}", tools.join(", ")) };
    Decision::Say {
        thought: "no rule of mine fits this".to_owned(),
        text: format!(
            "I am the assistant's scripted offline model, not a language model. I can calculate, tell the time, and say \
             what was said before; I was granted {tools}. Configure a real model for anything else."
        ),
    }
}

fn granted(request: &ChatRequest, tool: &str) -> bool {
    request.tools.iter().any(|t| t.name == tool)
}

fn last_of(request: &ChatRequest, role: ChatRole) -> Option<&str> {
    request.messages.iter().rev().find(|m| m.role == role).map(|m| m.content.as_str())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty())
}

/// The longest stretch of the text that reads as a calculation: it has a digit on both sides of an operator.
fn expression(text: &str) -> Option<String> {
    text.split(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || "+-*/().".contains(c)))
        .map(|part| part.trim().trim_end_matches(['.', ' ']))
        .filter(|part| {
            part.find(['+', '-', '*', '/']).is_some_and(|at| {
                let (left, right) = part.split_at(at);
                left.contains(|c: char| c.is_ascii_digit()) && right.contains(|c: char| c.is_ascii_digit())
            })
        })
        .max_by_key(|part| part.len())
        .map(str::to_owned)
}

/// Words, as a stand-in for tokens.
fn cost(request: &ChatRequest, chunks: &[ChatChunk]) -> Usage {
    let count = |text: &str| text.split_whitespace().count() as u64;
    Usage {
        input_tokens: request.messages.iter().map(|m| count(&m.content)).sum(),
        output_tokens: chunks
            .iter()
            .map(|chunk| match chunk {
                ChatChunk::Thinking(text) | ChatChunk::Text(text) => count(text),
                ChatChunk::ToolCall(_) | ChatChunk::Done(_) => 0,
            })
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use agent_plugin_api::protocol::call::ToolInfo;

    use super::*;

    fn request(turns: &[(ChatRole, &str)], tools: &[&str]) -> ChatRequest {
        ChatRequest {
            model: "scripted".to_owned(),
            messages: turns.iter().map(|(role, text)| ChatMessage::text(*role, *text)).collect(),
            tools: tools
                .iter()
                .map(|name| ToolInfo {
                    name: (*name).to_owned(),
                    description: String::new(),
                    input_schema: json!({}),
                })
                .collect(),
        }
    }

    #[test]
    fn a_calculation_is_found_in_a_sentence() {
        for (text, found) in [
            ("what is 2 + 3 * 4?", Some("2 + 3 * 4")),
            ("(1+2)/3", Some("(1+2)/3")),
            ("call me at 5", None),
            ("well-known", None),
            ("it costs 12. Then 4 - 1.", Some("4 - 1")),
        ] {
            assert_eq!(expression(text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn the_calculator_is_asked_for_only_where_it_is_granted() {
        let sum = [(ChatRole::User, "1 + 1")];
        assert!(matches!(decide(&request(&sum, &["calculator"])), Decision::Ask { tool: "calculator", .. }));
        assert!(matches!(decide(&request(&sum, &[])), Decision::Say { .. }));
    }

    #[test]
    fn what_was_said_before_is_recalled() {
        let turns = [
            (ChatRole::User, "my cat is called Minka"),
            (ChatRole::Assistant, "noted"),
            (ChatRole::User, "what did I say before?"),
        ];
        let Decision::Say { text, .. } = decide(&request(&turns, &[])) else { panic!("it says") };
        assert!(text.contains("Minka"), "{text}");
    }

    #[test]
    fn a_tool_s_failure_is_said() {
        let mut asked = request(&[(ChatRole::User, "1 / 0")], &["calculator"]);
        asked.messages.push(ChatMessage::text(
            ChatRole::Tool,
            r#"{"error":"tool.invalid_arguments","message":"division by zero"}"#,
        ));
        let Decision::Say { text, .. } = decide(&asked) else { panic!("it says") };
        assert!(text.contains("division by zero"));
    }

    #[test]
    fn the_pieces_joined_are_the_answer_and_it_ends_with_its_cost() {
        let chunks = answer(&request(&[(ChatRole::User, "hello")], &["clock"]));
        assert!(matches!(chunks.last(), Some(ChatChunk::Done(usage)) if usage.output_tokens > 0));
        let text: String = chunks
            .iter()
            .filter_map(|c| if let ChatChunk::Text(t) = c { Some(t.as_str()) } else { None })
            .collect();
        assert!(text.contains("not a language model") && text.contains("clock"));
    }
}
