/* The C client: librabbitmq, one connection, one channel. It marks what the broker can take on this machine.
 *
 *     librabbitmq ACTION QUEUE COUNT SIZE WINDOW PREFETCH      (the URL is in BENCHMARK_URL)
 *
 * ACTION: publish    WINDOW messages without a confirm at most (1: one at a time), after a first one that is not measured
 *         fill       the same without the first one
 *         consume    COUNT deliveries, each acknowledged by itself
 *
 * Messages are persistent and mandatory, with a content type and a message_id each, as rmqpool's are. A return, a nack
 * or a closed channel ends the program with an error. The last line on stdout is JSON.
 */
#if __has_include(<rabbitmq-c/amqp.h>) /* librabbitmq 0.12 and newer */
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static amqp_connection_state_t connection;
static double started, started_cpu, seconds, cpu_seconds;

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void check(amqp_rpc_reply_t reply, const char *what) {
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) die("%s: %s", what, amqp_error_string2(reply.library_error));
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) die("%s: the broker closed the channel or the connection", what);
}

static void check_status(int status, const char *what) {
  if (status != AMQP_STATUS_OK) die("%s: %s", what, amqp_error_string2(status));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void start_clock(void) {
  started = now();
  started_cpu = cpu();
}

static void stop_clock(void) {
  seconds = now() - started;
  cpu_seconds = cpu() - started_cpu;
}

static long peak_bytes(void) { /* not ru_maxrss: that one holds the size of whoever started us, too */
  char line[256];
  long kilobytes = 0;
  FILE *status = fopen("/proc/self/status", "r");
  if (!status) return 0;
  while (fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %ld", &kilobytes) == 1) break;
  fclose(status);
  return kilobytes * 1024;
}

static void open_connection(const char *url) {
  struct amqp_connection_info info;
  char *copy = strdup(url);
  check_status(amqp_parse_url(copy, &info), "URL");
  connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  if (!socket) die("no memory for a socket");
  check_status(amqp_socket_open(socket, info.host, info.port), "connecting");
  check(amqp_login(connection, info.vhost, 0, 131072, 60, AMQP_SASL_METHOD_PLAIN, info.user, info.password), "login");
  amqp_channel_open(connection, 1);
  check(amqp_get_rpc_reply(connection), "channel");
  free(copy);
}

static void publish_one(amqp_bytes_t queue, amqp_bytes_t body, uint64_t number) {
  char id[48];
  amqp_basic_properties_t properties;
  snprintf(id, sizeof id, "018f0000-0000-7000-8000-%012llx", (unsigned long long)number);
  properties._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG;
  properties.content_type = amqp_cstring_bytes("application/octet-stream");
  properties.delivery_mode = AMQP_DELIVERY_PERSISTENT;
  properties.message_id = amqp_cstring_bytes(id);
  check_status(amqp_basic_publish(connection, 1, amqp_empty_bytes, queue, 1, 0, &properties, body), "publishing");
}

/* Waits for one frame; returns how many messages are confirmed then. */
static uint64_t await_confirm(uint64_t confirmed) {
  amqp_frame_t frame;
  check_status(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD) return confirmed;
  if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
    die("instead of a confirm came %s", amqp_method_name(frame.payload.method.id));
  amqp_basic_ack_t *ack = frame.payload.method.decoded;
  if (!ack->multiple) return confirmed + 1; /* out of order perhaps: counted */
  return ack->delivery_tag > confirmed ? ack->delivery_tag : confirmed;
}

/* Publishes until `goal` messages are sent, and waits until all of them are confirmed. */
static uint64_t publish_until(uint64_t sent, uint64_t goal, uint64_t window, amqp_bytes_t queue, amqp_bytes_t body) {
  uint64_t confirmed = sent;
  while (confirmed < goal) {
    while (sent < goal && sent - confirmed < window) publish_one(queue, body, ++sent);
    confirmed = await_confirm(confirmed);
    while (confirmed < goal && (amqp_frames_enqueued(connection) || amqp_data_in_buffer(connection)))
      confirmed = await_confirm(confirmed);
    amqp_maybe_release_buffers_on_channel(connection, 1);
  }
  return sent;
}

static void publish(int first, uint64_t count, uint64_t window, amqp_bytes_t queue, amqp_bytes_t body) {
  amqp_confirm_select(connection, 1);
  check(amqp_get_rpc_reply(connection), "confirm.select");
  uint64_t sent = first ? publish_until(0, 1, 1, queue, body) : 0;
  start_clock();
  publish_until(sent, sent + count, window, queue, body);
  stop_clock();
}

static void consume(uint64_t count, uint16_t prefetch, amqp_bytes_t queue) {
  amqp_basic_qos(connection, 1, 0, prefetch, 0);
  check(amqp_get_rpc_reply(connection), "qos");
  amqp_basic_consume(connection, 1, queue, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
  check(amqp_get_rpc_reply(connection), "consume");
  for (uint64_t received = 0; received < count; received++) {
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(connection);
    check(amqp_consume_message(connection, &envelope, NULL, 0), "consuming");
    if (received == 0) start_clock();
    check_status(amqp_basic_ack(connection, 1, envelope.delivery_tag, 0), "acknowledging");
    amqp_destroy_envelope(&envelope);
  }
  stop_clock();
}

int main(int count_of_arguments, char **arguments) {
  const char *url = getenv("BENCHMARK_URL");
  if (count_of_arguments != 7 || !url) die("usage: BENCHMARK_URL=... librabbitmq ACTION QUEUE COUNT SIZE WINDOW PREFETCH");
  const char *action = arguments[1];
  uint64_t count = strtoull(arguments[3], NULL, 10), window = strtoull(arguments[5], NULL, 10);
  size_t size = strtoul(arguments[4], NULL, 10);
  amqp_bytes_t queue = amqp_cstring_bytes(arguments[2]), body = amqp_bytes_malloc(size);
  if (!body.bytes) die("no memory for a body of %zu bytes", size);
  memset(body.bytes, 'x', size);

  open_connection(url);
  if (!strcmp(action, "publish")) publish(1, count, window, queue, body);
  else if (!strcmp(action, "fill")) publish(0, count, window, queue, body);
  else if (!strcmp(action, "consume")) consume(count, (uint16_t)strtoul(arguments[6], NULL, 10), queue);
  else die("unknown action %s", action);
  check(amqp_channel_close(connection, 1, AMQP_REPLY_SUCCESS), "closing the channel");
  check(amqp_connection_close(connection, AMQP_REPLY_SUCCESS), "closing the connection");
  amqp_destroy_connection(connection);
  amqp_bytes_free(body);
  printf("{\"messages\": %llu, \"seconds\": %.9f, \"cpu_seconds\": %.9f, \"peak_bytes\": %ld, \"connections\": 1}\n",
         (unsigned long long)count, seconds, cpu_seconds, peak_bytes());
  return 0;
}
