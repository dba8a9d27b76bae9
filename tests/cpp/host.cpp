// A host in C++17 on the C header: RAII of its own around the handles, handlers that may throw, answers that are streamed or lent.
//
//   host URL [name=value]...    sets options, prints `listening on URL`; SIGTERM drains, a second one stops now
//
//   POST /echo                  the body again, with the request's field X-Note
//   GET  /stream?lines=N        N lines, as fast as the client reads them
//   GET  /lent?octets=N         a body that is not copied
//   GET  /hints                 an interim answer (103) before the answer
//   GET  /throw/exception, /throw/number, /throw/memory      a handler that throws: 500
//   GET  /throw/begun           a handler that throws behind the head of its answer: the connection is reset
//   GET  /kept                  how many streams and lent bodies the host keeps
#include <ingest.h>

#include <csignal>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

std::string_view view(ingest_slice slice) noexcept {
    return slice.ptr == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char *>(slice.ptr), slice.len);
}

ingest_slice slice(std::string_view text) noexcept {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

// A call that the library refused. It is thrown and caught within the host, never through the library.
class Refused : public std::runtime_error {
public:
    Refused(const char *what, ingest_status status) : std::runtime_error(std::string(what) + ": " + ingest_status_text(status)) {}
    explicit Refused(const ingest_error &error) : std::runtime_error(error.text) {}
};

void check(const char *what, ingest_status status) {
    if (status != INGEST_OK)
        throw Refused(what, status);
}

struct Free {
    void operator()(ingest_options *options) const noexcept { ingest_options_free(options); }
    void operator()(ingest_server *server) const noexcept { ingest_server_free(server); }
};

class Options {
public:
    Options() : options_(ingest_options_new()) {
        if (!options_)
            throw std::bad_alloc();
    }

    void set(const std::string &name, const std::string &value) {
        ingest_error error{};
        if (ingest_options_set(options_.get(), name.c_str(), value.c_str(), &error) != INGEST_OK)
            throw Refused(error);
    }

    const ingest_options *get() const noexcept { return options_.get(); }

private:
    std::unique_ptr<ingest_options, Free> options_;
};

using Headers = std::vector<ingest_header>;

// A request that the host holds. Who lets go of it without an answer gives it up, so that its memory always goes back to the library.
class Held {
public:
    Held(ingest_server *server, ingest_token token) noexcept : server_(server), token_(token) {}
    Held(Held &&other) noexcept : server_(other.server_), token_(std::exchange(other.token_, 0)), begun_(other.begun_) {}
    Held &operator=(Held &&) = delete;
    ~Held() {
        if (token_ != 0)
            ingest_abandon(server_, token_); // behind a head that has been sent this resets the connection
    }

    ingest_token token() const noexcept { return token_; }
    bool can_be_answered() const noexcept { return token_ != 0 && !begun_; }

    // False if the client has left in the meantime. The request is given back all the same; this goes for all that returns a bool.
    bool answer(uint16_t status, const Headers &headers, std::string_view body, bool lend = false) {
        ingest_response response = responding(status, headers);
        response.body = slice(body);
        response.lend = lend ? 1 : 0;
        return over("cannot answer", ingest_respond(server_, token_, &response));
    }

    // Tells the client something before the answer; that it has left will show then.
    void hint(uint16_t status, const Headers &headers) {
        const ingest_response response = responding(status, headers);
        const ingest_status told = ingest_respond_begin(server_, token_, &response);
        if (told != INGEST_E_GONE && told != INGEST_E_BUSY)
            check("cannot send an interim answer", told);
    }

    bool begin(uint16_t status, const Headers &headers) {
        ingest_response response = responding(status, headers);
        response.content_length = -1; // not known: in chunks
        const ingest_status begun = ingest_respond_begin(server_, token_, &response);
        if (begun == INGEST_OK)
            return begun_ = true;
        return over("cannot begin an answer", begun);
    }

    // How much was taken, or INGEST_E_BUSY or INGEST_E_GONE.
    int32_t write(std::string_view octets) {
        const int32_t taken = ingest_respond_write(server_, token_, octets.data(), octets.size());
        if (taken < 0 && taken != INGEST_E_BUSY && taken != INGEST_E_GONE)
            throw Refused("cannot write", taken);
        return taken;
    }

    bool end() { return over("cannot end an answer", ingest_respond_end(server_, token_, nullptr, 0)); }

private:
    static ingest_response responding(uint16_t status, const Headers &headers) noexcept {
        ingest_response response{};
        response.size = sizeof response;
        response.status = status;
        response.headers = headers.data();
        response.header_count = headers.size();
        return response;
    }

    // What an ending call says: after these two nothing has happened, after all others the request is the library's again.
    bool over(const char *what, ingest_status status) {
        if (status == INGEST_E_ARGUMENT || status == INGEST_E_STATE || status == INGEST_E_UNSUPPORTED)
            throw Refused(what, status);
        token_ = 0;
        return status == INGEST_OK;
    }

    ingest_server *server_;
    ingest_token token_;
    bool begun_ = false;
};

// What the host keeps by token from one event to the next. Two events of one batch may be about the same token; the second then finds
// nothing, where a pointer in ingest_token_tag would need care.
template <typename Kept> class Shelf {
public:
    void put(ingest_token token, std::unique_ptr<Kept> kept) {
        std::lock_guard<std::mutex> lock(mutex_);
        kept_.emplace(token, std::move(kept));
    }

    std::unique_ptr<Kept> take(ingest_token token) {
        std::lock_guard<std::mutex> lock(mutex_);
        auto node = kept_.extract(token);
        return node ? std::move(node.mapped()) : nullptr;
    }

    size_t count() {
        std::lock_guard<std::mutex> lock(mutex_);
        return kept_.size();
    }

private:
    std::mutex mutex_;
    std::map<ingest_token, std::unique_ptr<Kept>> kept_;
};

// A body in lines. The library gives the events of one token to one thread at a time, so that a stream needs no lock.
class Lines {
public:
    Lines(Held &&held, uint64_t last) : held_(std::move(held)), last_(last) {}

    // True when it has to wait for WRITABLE, false when it is over.
    bool go_on() {
        for (;;) {
            while (piece_.size() < 4096 && next_ <= last_)
                piece_ += "line " + std::to_string(next_++) + '\n';
            if (piece_.empty()) {
                held_.end();
                return false;
            }
            const int32_t taken = held_.write(piece_);
            if (taken < 0)
                return taken == INGEST_E_BUSY; // or the client has left: then the request is given back with us
            piece_.erase(0, static_cast<size_t>(taken));
        }
    }

private:
    Held held_;
    uint64_t last_, next_ = 1;
    std::string piece_;
};

class Server {
public:
    using Handler = std::function<void(Server &, Held &, const ingest_request &)>;

    Server(const Options &options, Handler handler) : handler_(std::move(handler)), server_(ingest_server_new(options.get())) {
        if (!server_)
            throw std::bad_alloc();
        check("cannot set the callback", ingest_server_on_events(server_.get(), on_events, this));
    }

    // Ends what still runs, so that no callback finds us half gone. A server that never started has nothing to wait for.
    ~Server() {
        stop();
        stop();
        ingest_server_join(server_.get(), -1);
    }

    std::string listen(const std::string &address) {
        ingest_error error{};
        const int32_t listener = ingest_server_listen(server_.get(), address.c_str(), nullptr, &error);
        if (listener < 0)
            throw Refused(error);
        return address.substr(0, address.rfind(':') + 1) + std::to_string(ingest_server_port(server_.get(), listener));
    }

    void start() {
        ingest_error error{};
        if (ingest_server_start(server_.get(), &error) != INGEST_OK)
            throw Refused(error);
    }

    void stop() noexcept { ingest_server_stop(server_.get()); }

    bool has_ended(int32_t timeout_ms) {
        const ingest_status joined = ingest_server_join(server_.get(), timeout_ms);
        if (joined != INGEST_E_BUSY)
            check("cannot wait for the end", joined);
        return joined == INGEST_OK;
    }

    // Streams as many lines as are asked for, now and whenever the client has room.
    void stream(Held &held, uint64_t last) {
        const ingest_token token = held.token();
        if (held.begin(200, {{slice("Content-Type"), slice("text/plain")}}))
            go_on(std::make_unique<Lines>(std::move(held), last), token);
    }

    // Answers with a body that stays here until RELEASED.
    void lend(Held &held, std::string body) {
        auto kept = std::make_unique<std::string>(std::move(body));
        const std::string_view octets = *kept;
        const ingest_token token = held.token();
        lent_.put(token, std::move(kept));
        if (!held.answer(200, {}, octets, true))
            lent_.take(token);
    }

    std::string kept() { return std::to_string(lines_.count()) + " streams, " + std::to_string(lent_.count()) + " lent"; }

private:
    // The boundary: nothing that is thrown behind it may leave it, which noexcept would turn into the end of the program.
    static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count) noexcept {
        auto &self = *static_cast<Server *>(userdata);
        for (size_t i = 0; i < count; i++) {
            try {
                if (events[i].kind == INGEST_EVENT_REQUEST)
                    self.on_request(Held(server, events[i].token), *events[i].request);
                else if (events[i].kind == INGEST_EVENT_WRITABLE)
                    self.go_on(self.lines_.take(events[i].token), events[i].token);
                else if (events[i].kind == INGEST_EVENT_GONE && events[i].reason == INGEST_GONE_RESET)
                    self.lines_.take(events[i].token);
                else if (events[i].kind == INGEST_EVENT_RELEASED)
                    self.lent_.take(events[i].token);
            } catch (...) {
                // What was at work has let go of its request, so the client sees its connection reset. The others go on.
            }
        }
    }

    // What a handler throws is answered with 500, unless its answer has begun.
    void on_request(Held held, const ingest_request &request) {
        std::string why = "something that is no exception was thrown";
        try {
            handler_(*this, held, request);
        } catch (const std::exception &error) {
            why = error.what();
        } catch (...) {
        }
        if (held.can_be_answered())
            held.answer(500, {{slice("Content-Type"), slice("text/plain")}}, why);
    }

    void go_on(std::unique_ptr<Lines> lines, ingest_token token) {
        if (lines && lines->go_on())
            lines_.put(token, std::move(lines));
    }

    Handler handler_;
    Shelf<std::string> lent_;                      // outlives the server, which may still look at the octets
    std::unique_ptr<ingest_server, Free> server_;
    Shelf<Lines> lines_;                           // goes before the server, to which each gives its request back
};

uint64_t number_of(const ingest_request &request, std::string_view name) {
    return std::stoull(std::string(view(ingest_request_query(&request, name.data(), name.size())))); // throws if it is none: 500
}

void handle(Server &server, Held &held, const ingest_request &request) {
    const std::string_view path = view(request.path);
    if (path == "/echo") {
        Headers headers;
        if (const ingest_slice note = ingest_request_header(&request, "X-Note", 6); note.ptr != nullptr)
            headers.push_back({slice("X-Note"), note});
        held.answer(200, headers, view(request.body));
    } else if (path == "/stream") {
        server.stream(held, number_of(request, "lines"));
    } else if (path == "/lent") {
        server.lend(held, std::string(number_of(request, "octets"), 'x'));
    } else if (path == "/hints") {
        held.hint(103, {{slice("Link"), slice("</style.css>; rel=preload")}});
        held.answer(200, {}, "hinted\n");
    } else if (path == "/throw/exception") {
        throw std::runtime_error("the handler gave up");
    } else if (path == "/throw/number") {
        throw 42;
    } else if (path == "/throw/memory") {
        throw std::bad_alloc();
    } else if (path == "/throw/begun") {
        held.begin(200, {});
        held.write("half of it");
        throw std::runtime_error("too late for another status");
    } else if (path == "/kept") {
        held.answer(200, {}, server.kept());
    } else {
        held.answer(404, {}, "");
    }
}

void run(const std::vector<std::string> &arguments) {
    // Blocked before the library starts its threads; the program takes them one by one.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);

    Options options;
    options.set("events", "gone,writable,released");
    for (size_t i = 1; i < arguments.size(); i++) {
        const size_t equals = arguments[i].find('=');
        options.set(arguments[i].substr(0, equals), arguments[i].substr(equals + 1));
    }
    Server server(options, handle);
    std::cout << "listening on " << server.listen(arguments.at(0)) << std::endl;
    server.start();
    do {
        const timespec pause = {0, 20000000};
        if (sigtimedwait(&signals, nullptr, &pause) == SIGTERM)
            server.stop();
    } while (!server.has_ended(0));
}

} // namespace

int main(int argc, char **argv) {
    try {
        run(std::vector<std::string>(argv + 1, argv + argc));
        return 0;
    } catch (const std::exception &error) {
        std::cerr << "host: " << error.what() << '\n';
        return 1;
    }
}
