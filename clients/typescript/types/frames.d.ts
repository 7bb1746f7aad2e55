// Generated from docs/asyncapi.json by tests/clients/typescript/generate.mjs. Do not edit.

/**
 * Any frame.
 */
export type Frame = ServerFrame | EventFrame | ClientFrame;
/**
 * What the host says.
 */
export type ServerFrame =
  | Accepted
  | AgentCompleted
  | AgentDelegated
  | AgentMessageDelta
  | AgentReturned
  | AgentStarted
  | AgentThinking
  | AuthExpiring
  | AuthRefreshed
  | ErrorFrame
  | GoingAway
  | Ping
  | Pong
  | RunDegraded
  | ServiceStatus
  | Subscribed
  | ToolCompletedEvent
  | ToolExecutingEvent
  | UserMessageEvent
  | Welcome;
/**
 * Valid if it is 1 to 64 printable characters.
 */
export type Epoch = string;
/**
 * Valid if it is 1 to 128 printable characters.
 */
export type MessageId = string;
/**
 * Valid if it is 1 to 128 printable characters.
 */
export type RunId = string;
/**
 * The position of an event in its thread: dense, from 1.
 */
export type Seq = number;
/**
 * Valid if it is 1 to 128 printable characters.
 */
export type ThreadId = string;
/**
 * How a run ended: `agent_completed.status`.
 */
export type RunStatus = 'ok' | 'degraded' | 'failed' | 'cancelled' | 'interrupted' | 'input_required';
/**
 * Valid if it is 1 to 64 characters of [a-z0-9-] that begin with a letter.
 */
export type PluginId = string;
/**
 * How a tool call ended: `tool_completed.status`.
 */
export type ToolStatus = 'ok' | 'failed';
/**
 * What a user can expect now. The same word in the welcome frame, `/ready`, metrics and the console.
 */
export type ServiceLevel = 'basic' | 'fallback' | 'partial' | 'full';
/**
 * A stable error code. See docs/codes.md.
 */
export type Code = string;
/**
 * How long what the store keeps is kept, as its operator says.
 */
export type Durability = 'durable' | 'ephemeral' | 'memory';
/**
 * What a missing thing is.
 */
export type MissingKind = 'agent' | 'supervisor' | 'service' | 'store' | 'bus' | 'fallback';
/**
 * Valid if it is 1 to 128 printable characters.
 */
export type ToolCallId = string;
/**
 * An event of a thread's log.
 */
export type EventFrame =
  | AgentCompleted
  | AgentDelegated
  | AgentMessageDelta
  | AgentReturned
  | AgentStarted
  | AgentThinking
  | RunDegraded
  | ToolCompletedEvent
  | ToolExecutingEvent
  | UserMessageEvent;
/**
 * What a client says.
 */
export type ClientFrame =
  | SendAck
  | SendAuthRefresh
  | SendCancel
  | SendInterruptResponse
  | SendPing
  | SendPong
  | SendSubscribe
  | SendUnsubscribe
  | SendUserMessage;

/**
 * The message is durable. What follows is its run; `seq` is the position of its `user_message`.
 */
export interface Accepted {
  /**
   * Whether it was accepted before: then this is what was said then.
   */
  duplicate: boolean;
  epoch: Epoch;
  id: MessageId;
  /**
   * The run that asked, where this is the answer to a question.
   */
  resumes?: RunId;
  run_id: RunId;
  seq: Seq;
  thread_id: ThreadId;
  type: 'accepted';
}
/**
 * The run is over: last of its run, exactly once.
 */
export interface AgentCompleted {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Completed;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_completed';
}
export interface Completed {
  duration_ms: number;
  error?: EventError;
  interrupts?: Interrupt[];
  responder: Responder;
  status: RunStatus;
  text: string;
  usage?: Usage;
}
/**
 * An error inside an event: stable code, text for people.
 */
export interface EventError {
  /**
   * A code of the table, or of the plugin's own words.
   */
  code: string;
  /**
   * What happened, for people.
   */
  message: string;
  /**
   * Whether the same message may succeed later.
   */
  retryable: boolean;
}
/**
 * A question that ended the run.
 */
export interface Interrupt {
  /**
   * Named after its run: unique, and as hard to guess.
   */
  interrupt_id: string;
  prompt: string;
  schema: unknown;
}
/**
 * Who answers: in `agent_started` and `agent_completed`.
 */
export interface Responder {
  /**
   * True for the fallback that is linked into the host.
   */
  built_in: boolean;
  /**
   * Its generation; 0 for the built-in.
   */
  generation: number;
  /**
   * The plugin's id, or `fallback`.
   */
  plugin: string;
  /**
   * Its version.
   */
  version: string;
}
/**
 * Model usage of a run.
 */
export interface Usage {
  /**
   * Tokens read.
   */
  input_tokens: number;
  /**
   * Tokens written.
   */
  output_tokens: number;
}
/**
 * A supervisor handed work to an agent.
 */
export interface AgentDelegated {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Delegated;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_delegated';
}
export interface Delegated {
  agent: PluginId;
  sub_run_id: RunId;
}
/**
 * A piece of the streamed answer.
 */
export interface AgentMessageDelta {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: MessageDelta;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_message_delta';
}
/**
 * Payload of `agent_message_delta`.
 */
export interface MessageDelta {
  /**
   * The message that grows; the host gave it with the call.
   */
  message_id: string;
  /**
   * The text to append.
   */
  text: string;
}
/**
 * Delegated work came back.
 */
export interface AgentReturned {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Returned;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_returned';
}
export interface Returned {
  agent: PluginId;
  error?: EventError;
  status: ToolStatus;
  sub_run_id: RunId;
  text?: string;
}
/**
 * A responder took the message.
 */
export interface AgentStarted {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Started;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_started';
}
export interface Started {
  level: ServiceLevel;
  message: string;
  responder: Responder;
}
/**
 * What the agent is doing, for people.
 */
export interface AgentThinking {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Thinking;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'agent_thinking';
}
/**
 * Payload of `agent_thinking`.
 */
export interface Thinking {
  /**
   * How far it is: 0.0 to 1.0.
   */
  progress?: number | null;
  /**
   * Which step it is, from 1.
   */
  step?: number | null;
  /**
   * What the agent is doing.
   */
  text: string;
}
/**
 * The token expires soon: send another by `auth_refresh`.
 */
export interface AuthExpiring {
  expires_at: string;
  type: 'auth_expiring';
}
/**
 * The new token was taken.
 */
export interface AuthRefreshed {
  expires_at: string;
  type: 'auth_refreshed';
}
/**
 * Something the client asked was refused. The connection stays.
 */
export interface ErrorFrame {
  code: Code;
  id?: MessageId;
  message: string;
  retry_after_ms?: number;
  retryable: boolean;
  type: 'error';
}
/**
 * The host is going away: connect again after about `reconnect_after_ms`, and resume.
 */
export interface GoingAway {
  deadline_ms: number;
  reason: 'draining';
  reconnect_after_ms: number;
  type: 'going_away';
}
/**
 * Wants any sign of life. `positions` is the last `seq` sent of each subscribed thread, or of the 256 that were
 * heard of last where there are more: a client that has less subscribes again.
 */
export interface Ping {
  positions: {
    [k: string]: Seq;
  };
  type: 'ping';
}
/**
 * Answer to `ping`.
 */
export interface Pong {
  type: 'pong';
}
/**
 * The run moved to another instance or to the fallback.
 */
export interface RunDegraded {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: Degraded;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'run_degraded';
}
export interface Degraded {
  code: Code;
  from: string;
  reason: string;
  to: string;
}
/**
 * The level of the service, or what is missing, changed.
 */
export interface ServiceStatus {
  /**
   * The names of what changed.
   */
  changed: string[];
  /**
   * Said where conversations do not outlive the machine, or not even the host.
   */
  durability?: Durability;
  level: ServiceLevel;
  missing: Missing[];
  reason: string;
  type: 'service_status';
}
/**
 * Something that is wanted and not there; as in the welcome frame.
 */
export interface Missing {
  /**
   * The stable code.
   */
  code: Code;
  /**
   * `agent`, `supervisor`, `service`, `store`, `bus` or `fallback`.
   */
  kind: MissingKind;
  /**
   * The plugin's or the service's name.
   */
  name: string;
  /**
   * One line, without paths or secrets: clients see it.
   */
  reason: string;
  /**
   * When another try is due, if one is.
   */
  retry_after_ms?: number;
}
/**
 * Answer to `subscribe`: what follows is replayed from `from_seq`, then live. Where `recovered` is false, the
 * history does not join what the client has, for that reason.
 */
export interface Subscribed {
  epoch: Epoch;
  from_seq: Seq;
  reason?: 'epoch' | 'too_old' | 'limit';
  recovered: boolean;
  thread_id: ThreadId;
  to_seq: Seq;
  type: 'subscribed';
}
/**
 * A tool call ended; written by the host.
 */
export interface ToolCompletedEvent {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: ToolCompleted;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'tool_completed';
}
export interface ToolCompleted {
  duration_ms: number;
  error?: EventError;
  result?: unknown;
  status: ToolStatus;
  tool: string;
  tool_call_id: ToolCallId;
}
/**
 * A tool call began; written by the host.
 */
export interface ToolExecutingEvent {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: ToolExecuting;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'tool_executing';
}
export interface ToolExecuting {
  arguments: unknown;
  tool: string;
  tool_call_id: ToolCallId;
}
/**
 * The person's own message: first of its run.
 */
export interface UserMessageEvent {
  /**
   * Who: a plugin, `fallback`, `host`, or `user`.
   */
  agent: string;
  payload: UserMessage;
  run_id: RunId;
  /**
   * The position in its thread: dense, from 1.
   */
  seq: Seq;
  thread_id: ThreadId;
  time: string;
  type: 'user_message';
}
/**
 * Payload of `user_message`.
 */
export interface UserMessage {
  agent?: PluginId;
  content: string;
  message_id: MessageId;
  metadata: {
    [k: string]: unknown;
  };
}
/**
 * The first frame, at once after the upgrade, whatever the state of the service.
 */
export interface Welcome {
  agents: Agent[];
  connection_id: string;
  expires_at: string;
  host: string;
  limits: WelcomeLimits;
  ping_interval_ms: number;
  protocol: string;
  server_time: string;
  service: Service;
  type: 'welcome';
  user_id: string;
}
export interface Agent {
  description?: string;
  name: string;
  state: string;
  version?: string;
}
export interface WelcomeLimits {
  frame_bytes: number;
  messages_per_minute: number;
  runs_at_once: number;
}
export interface Service {
  /**
   * Said where conversations do not outlive the machine, or not even the host.
   */
  durability?: Durability;
  level: ServiceLevel;
  missing: Missing[];
  reason: string;
}
/**
 * The client has everything up to `seq`. Optional; decides nothing.
 */
export interface SendAck {
  seq: Seq;
  thread_id: ThreadId;
  type: 'ack';
}
/**
 * A new token of the same user, before the old one expires.
 */
export interface SendAuthRefresh {
  token: string;
  type: 'auth_refresh';
}
/**
 * Asks to stop a run: it ends `cancelled`.
 */
export interface SendCancel {
  run_id: RunId;
  type: 'cancel';
}
/**
 * Answers the question that ended a run: begins a new one.
 */
export interface SendInterruptResponse {
  id?: MessageId | null;
  interrupt_id: string;
  response?: unknown;
  run_id: RunId;
  type: 'interrupt_response';
}
/**
 * Wants a `pong`.
 */
export interface SendPing {
  type: 'ping';
}
/**
 * Answer to `ping`; any other frame is a sign of life as well.
 */
export interface SendPong {
  type: 'pong';
}
/**
 * Replays a thread after `after_seq` (0: from its start), then tells what happens in it.
 */
export interface SendSubscribe {
  after_seq?: Seq | null;
  epoch?: Epoch | null;
  thread_id: ThreadId;
  type: 'subscribe';
}
/**
 * Tells no more of that thread.
 */
export interface SendUnsubscribe {
  thread_id: ThreadId;
  type: 'unsubscribe';
}
/**
 * A message to an agent. `id` is its idempotency key: send the same again until it is accepted.
 */
export interface SendUserMessage {
  agent?: PluginId | null;
  content: string;
  id?: MessageId | null;
  metadata?: {
    [k: string]: unknown;
  } | null;
  /**
   * None: a new thread.
   */
  thread_id?: ThreadId | null;
  type: 'user_message';
}
