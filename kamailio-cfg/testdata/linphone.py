#!/usr/bin/env python3
"""A liblinphone of Debian with group chats, steered by lines: linphone.py DIRECTORY

DIRECTORY has the configuration, linphonerc. Commands come from standard input; what happens goes to standard output, a
line each, with words separated by tabs.
"""
import ctypes
import os
import sys
import time

LINPHONE = ctypes.CDLL("liblinphone.so.10")
TOOLBOX = ctypes.CDLL("libbctoolbox.so.1")
P, S, B, I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_bool, ctypes.c_int


def call(name, result, *pairs, lib=LINPHONE):
    """Calls a function; pairs are the type and the value of each argument."""
    f = getattr(lib, name)
    f.restype, f.argtypes = result, list(pairs[0::2]) or None
    return f(*pairs[1::2])


def items(elements):
    while elements:
        yield call("bctbx_list_get_data", P, P, elements, lib=TOOLBOX)
        elements = call("bctbx_list_next", P, P, elements, lib=TOOLBOX)


def words(text):
    return (text or b"").decode()


def uri(address):
    return words(call("linphone_address_as_string_uri_only", S, P, address)) if address else ""


def say(*what):
    print("\t".join(str(w) for w in what), flush=True)


class Client:
    def __init__(self, directory):
        self.core = None
        self.kept = []  # callbacks, and messages whose state is watched
        self.sent = {}
        factory = call("linphone_factory_get", P)
        libc = ctypes.CDLL(None)
        log = call("fopen", P, S, f"{directory}/log".encode(), S, b"a", lib=libc)
        call("setlinebuf", None, P, log, lib=libc)  # the last lines say why it has crashed
        call("linphone_core_set_log_file", None, P, log)
        call("linphone_core_set_log_level_mask", None, ctypes.c_uint, 0x3C)
        self.core = call("linphone_factory_create_core_3", P, P, factory, S, f"{directory}/linphonerc".encode(), S, None,
                         P, None)
        self.callbacks = call("linphone_factory_create_core_cbs", P, P, factory)
        self.on("message_received", [P, P], lambda core, room, message: say(
            "message", self.name(room), uri(call("linphone_chat_message_get_from_address", P, P, message)),
            words(call("linphone_chat_message_get_utf8_text", S, P, message))))
        self.on("is_composing_received", [P], lambda core, room: say("typing", self.name(room), " ".join(
            uri(a) for a in items(call("linphone_chat_room_get_composing_addresses", P, P, room)))))
        self.on("registration_state_changed", [P, I, S], lambda core, proxy, state, text: say("registration", state))
        call("linphone_core_add_callbacks", None, P, self.core, P, self.callbacks)
        call("linphone_core_start", I, P, self.core)

    def on(self, event, types, f):
        kind = ctypes.CFUNCTYPE(None, P, *types)
        self.kept.append(kind(f))
        call("linphone_core_cbs_set_" + event, None, P, self.callbacks, kind, self.kept[-1])

    def rooms(self):
        return items(call("linphone_core_get_chat_rooms", P, P, self.core))

    def name(self, room):
        return uri(call("linphone_chat_room_get_peer_address", P, P, room))

    def room(self, title):
        for room in self.rooms():
            if title in (words(call("linphone_chat_room_get_subject", S, P, room)), self.name(room)):
                return room
        raise KeyError(f"no room {title}")

    def participant(self, room, user):
        for p in items(call("linphone_chat_room_get_participants", P, P, room)):
            if uri(call("linphone_participant_get_address", P, P, p)) == user:
                return p
        raise KeyError(f"no {user} in the room")

    def show(self, room):
        everybody = []
        me = call("linphone_chat_room_get_me", P, P, room)
        for p in [me] + list(items(call("linphone_chat_room_get_participants", P, P, room))):
            if p:
                admin = call("linphone_participant_is_admin", B, P, p)
                everybody.append(uri(call("linphone_participant_get_address", P, P, p)) + ("*" if admin else ""))
        say("room", self.name(room), words(call("linphone_chat_room_get_subject", S, P, room)),
            call("linphone_chat_room_get_state", I, P, room), call("linphone_chat_room_is_read_only", B, P, room),
            " ".join(sorted(everybody)))

    def show_text(self, message):
        author = uri(call("linphone_chat_message_get_from_address", P, P, message))
        say("text", author.split(";")[0], words(call("linphone_chat_message_get_utf8_text", S, P, message)),
            call("linphone_chat_message_is_outgoing", B, P, message), " ".join(sorted(self.readers(message))),
            self.text(call("linphone_chat_message_get_reply_message", P, P, message)))

    def text(self, message):
        return words(call("linphone_chat_message_get_utf8_text", S, P, message)) if message else ""

    def send(self, message, text):
        message = call("linphone_chat_message_ref", P, P, message)
        call("linphone_chat_message_send", None, P, message)
        self.sent[text] = [message, None, set()]
        say("sent", text, words(call("linphone_chat_message_get_message_id", S, P, message)))

    def readers(self, message):
        return [uri(call("linphone_participant_get_address", P, P,
                         call("linphone_participant_imdn_state_get_participant", P, P, p)))
                for p in items(call("linphone_chat_message_get_participants_by_imdn_state", P, P, message, I, 7))]

    def address(self, text):
        return call("linphone_address_new", P, S, text.encode())

    def do(self, line):
        command, *args = line.split("\t")
        if command == "create":
            params = call("linphone_core_create_default_chat_room_params", P, P, self.core)
            call("linphone_chat_room_params_set_backend", None, P, params, I, 2)
            call("linphone_chat_room_params_enable_group", None, P, params, B, True)
            call("linphone_chat_room_params_enable_encryption", None, P, params, B, False)
            call("linphone_chat_room_params_set_subject", None, P, params, S, args[0].encode())
            users = None
            for user in args[1:]:
                users = call("bctbx_list_append", P, P, users, P, self.address(user), lib=TOOLBOX)
            self.kept.append(call("linphone_core_create_chat_room_6", P, P, self.core, P, params, P, None, P, users))
        elif command == "rooms":
            for room in self.rooms():
                self.show(room)
            say("end")
        elif command == "texts":
            for message in items(call("linphone_chat_room_get_history", P, P, self.room(args[0]), I, 0)):
                self.show_text(message)
            say("end")
        elif command == "say":
            self.send(call("linphone_chat_room_create_message_from_utf8", P, P, self.room(args[0]), S, args[1].encode()),
                      args[1])
        elif command == "reply":
            room = self.room(args[0])
            for message in items(call("linphone_chat_room_get_history", P, P, room, I, 0)):
                if self.text(message) == args[1]:
                    reply = call("linphone_chat_room_create_reply_message", P, P, room, P, message)
                    call("linphone_chat_message_add_utf8_text_content", P, P, reply, S, args[2].encode())
                    self.send(reply, args[2])
        elif command == "type":
            call("linphone_chat_room_compose", None, P, self.room(args[0]))
        elif command == "read":
            call("linphone_chat_room_mark_as_read", None, P, self.room(args[0]))
        elif command == "add":
            call("linphone_chat_room_add_participant", None, P, self.room(args[0]), P, self.address(args[1]))
        elif command == "remove":
            room = self.room(args[0])
            call("linphone_chat_room_remove_participant", None, P, room, P, self.participant(room, args[1]))
        elif command == "admin":
            room = self.room(args[0])
            call("linphone_chat_room_set_participant_admin_status", None, P, room, P, self.participant(room, args[1]),
                 B, args[2] == "1")
        elif command == "title":
            call("linphone_chat_room_set_subject", None, P, self.room(args[0]), S, args[1].encode())
        elif command == "leave":
            call("linphone_chat_room_leave", None, P, self.room(args[0]))
        elif command == "register":
            call("linphone_core_refresh_registers", None, P, self.core)
        elif command == "quit":
            call("linphone_core_stop", None, P, self.core)
            return False
        else:
            raise KeyError(f"no command {command}")
        return True

    def watch(self):
        for text, message in self.sent.items():
            state = call("linphone_chat_message_get_state", I, P, message[0])
            if state != message[1]:
                message[1] = state
                say("state", text, state)
            for who in self.readers(message[0]):
                if who not in message[2]:
                    message[2].add(who)
                    say("read", text, who)

    def run(self):
        os.set_blocking(0, False)
        waiting = b""
        while True:
            call("linphone_core_iterate", None, P, self.core)
            self.watch()
            time.sleep(0.01)
            try:
                read = os.read(0, 65536)
                if not read:
                    return
            except BlockingIOError:
                continue
            waiting += read
            while b"\n" in waiting:
                line, waiting = waiting.split(b"\n", 1)
                try:
                    if not self.do(line.decode()):
                        return
                except KeyError as e:
                    say("error", e)


Client(sys.argv[1]).run()
