#!/usr/bin/env python3
"""Tests of the walls: this repository keeps them, and a planted violation of each kind is caught."""
import os
import tempfile
import unittest

import walls

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

FAILPOINT_LETTERS = "abcdefghijklmnopqrstuvwxyz"[:walls.FAILPOINTS_AT_LEAST]

# Files that keep every rule. Each test plants one line into one of them.
SOUND = {
    "server/main.cc": '#include "server/app/app.h"\n',
    "server/app/app.h": '#include "server/api/server.h"\n#include "server/web/admin.h"\n',
    "server/app/config.cc": "#include <CLI/CLI.hpp>\n",
    "server/app/app.cc": '#include "server/app/app.h"\n',
    "server/api/server.h": '#include <grpcpp/server.h>\n#include "server/core/ports.h"\n',
    "server/api/status.h": '#include "dreamgate/v1/prediction.pb.h"\n',
    "server/core/ports.h": '#include <memory>\n#include "absl/time/time.h"\n',
    "server/core/durable.h": '#include "server/core/ports.h"\n',
    "server/core/retention.h": '#include "server/core/durable.h"\n',
    "server/core/polling/poller.h": '#include "server/core/ports.h"\n',
    "server/core/tracking/tracker.h": '#include "server/core/durable.h"\n'
                                      '#include "server/core/polling/poller.h"\n',
    "server/core/submission/submitter.h": '#include "server/core/tracking/tracker.h"\n',
    "server/core/watching/watch_hub.h": '#include "server/core/tracking/tracker.h"\n',
    "server/core/evidence/reconciler.h": '#include "server/core/submission/submitter.h"\n',
    "server/core/gateway.h": '#include "server/core/evidence/reconciler.h"\n#include "server/core/retention.h"\n'
                             '#include "server/core/watching/watch_hub.h"\n',
    "server/core/upstream_task.h": "#include <string>\n",
    "server/wavespeed/task.h": '#include <boost/json.hpp>\n#include "server/core/upstream_task.h"\n',
    "server/net/tls.h": "#include <openssl/ssl.h>\n",
    "server/upstream/client.cc": '#include <boost/beast/http.hpp>\n#include "server/net/tls.h"\n'
                                 '#include "server/wavespeed/task.h"\n',
    "server/web/admin.h": '#include "server/core/ports.h"\n',
    "server/ledger/store.cc": '#include <sqlite3.h>\n#include "server/core/ports.h"\n',
    "server/telemetry/log.cc": "#include <spdlog/spdlog.h>\n",
    "client/cpp/include/dreamgate/client/watch.h": "#include <grpcpp/channel.h>\n",
    "client/cli/main.cc": '#include <CLI/CLI.hpp>\n#include "dreamgate/client/watch.h"\n',
    "tests/core/tracking/tracker_test.cc": '#include <gtest/gtest.h>\n#include "server/core/tracking/tracker.h"\n',
    "tests/e2e/kill_test.cc": '#include <grpcpp/channel.h>\n',
    "server/web/admin.cc": '#include "server/web/admin.h"\n' + "".join(
        f'DREAMGATE_FAILPOINT("web.{letter}");\n' for letter in FAILPOINT_LETTERS),
    walls.CRASH_CASES: "".join(f'      {{"web.{letter}", kPlain}},\n' for letter in FAILPOINT_LETTERS),
    "README.md": "A house.\n",
}

# (file, planted line, a part of the complaint)
CROSSINGS = [
    ("server/core/tracking/tracker.h", '#include "server/ledger/store.h"', "core must not include ledger"),
    ("server/core/tracking/tracker.h", "#include <grpcpp/server.h>", "gRPC"),
    ("server/core/tracking/tracker.h", "#include <boost/asio/io_context.hpp>", "Asio"),
    ("server/core/tracking/tracker.h", "#include <sys/socket.h>", "core sees"),
    ("server/core/tracking/tracker.h", '  #  include "server/api/server.h"', "core must not include api"),
    ("server/core/ports.h", '#include "server/core/durable.h"', "ground must not include its durable"),
    ("server/core/durable.h", '#include "server/core/polling/poller.h"', "durable must not include its polling"),
    ("server/core/retention.h", '#include "server/core/tracking/tracker.h"',
     "retention must not include its tracking"),
    ("server/core/polling/poller.h", '#include "server/core/tracking/tracker.h"',
     "polling must not include its tracking"),
    ("server/core/polling/poller.h", '#include "server/core/retention.h"',
     "polling must not include its retention"),
    ("server/core/tracking/tracker.h", '#include "server/core/evidence/reconciler.h"',
     "tracking must not include its evidence"),
    ("server/core/submission/submitter.h", '#include "server/core/evidence/reconciler.h"',
     "submission must not include its evidence"),
    ("server/core/submission/submitter.h", '#include "server/core/watching/watch_hub.h"',
     "submission must not include its watching"),
    ("server/core/watching/watch_hub.h", '#include "server/core/evidence/reconciler.h"',
     "watching must not include its evidence"),
    ("server/core/evidence/reconciler.h", '#include "server/core/gateway.h"', "evidence must not include its gateway"),
    ("server/api/server.h", '#include "server/ledger/store.h"', "api must not include ledger"),
    ("server/api/server.h", '#include "server/web/admin.h"', "api must not include web"),
    ("server/web/admin.h", '#include "server/upstream/client.h"', "web must not include upstream"),
    ("server/web/admin.h", "#include <grpcpp/server.h>", "gRPC"),
    ("server/ledger/store.cc", '#include "server/upstream/client.h"', "ledger must not include"),
    ("server/ledger/store.cc", '#include "dreamgate/v1/prediction.pb.h"', "gRPC"),
    ("server/upstream/client.cc", "#include <sqlite3.h>", "SQLite"),
    ("server/upstream/client.cc", "#include <openssl/hmac.h>", "OpenSSL"),
    ("server/wavespeed/task.h", '#include "server/core/tracking/tracker.h"', "wavespeed sees only"),
    ("server/wavespeed/task.h", '#include "server/net/tls.h"', "wavespeed must not include net"),
    ("server/net/tls.h", '#include "server/core/ports.h"', "net must not include core"),
    ("server/main.cc", '#include "server/core/ports.h"', "may include app only"),
    ("server/app/app.h", '#include "tests/fakes/ledger.h"', "server must not include tests"),
    ("server/app/app.h", '#include "client/cli/options.h"', "server must not include client"),
    ("server/app/app.h", "#include <CLI/CLI.hpp>", "stays out of headers"),
    ("server/app/app.cc", "#include <CLI/CLI.hpp>", "CLI11 is in 2 files"),
    ("server/app/app.cc", "#include <boost/json.hpp>", "Boost.JSON"),
    ("server/app/app.cc", '#include "app.h"', "not relative to the root"),
    ("server/app/app.cc", '#include "../core/ports.h"', "not relative to the root"),
    ("server/app/app.cc", '#include "server/app/gone.h"', "does not exist"),
    ("client/cli/main.cc", '#include "server/core/ports.h"', "client must not include server"),
    ("client/cpp/include/dreamgate/client/watch.h", '#include "absl/time/time.h"', "consumer"),
    ("tests/core/tracking/tracker_test.cc", "#include <grpcpp/channel.h>", "free of gRPC"),
    ("tests/core/tracking/tracker_test.cc", '#include "server/api/status.h"', "free of gRPC"),
    ("server/web/admin.cc", '  DREAMGATE_FAILPOINT("web.here");', "is not in tests/e2e"),
    ("server/web/admin.cc", '  DREAMGATE_FAILPOINT("web.a");', "web.a is there twice"),
    ("server/web/admin.cc", '  DREAMGATE_FAILPOINT("Here");', "is named room.what"),
    (walls.CRASH_CASES, '      {"web.gone", kPlain},', "is not in server/"),
    ("README.md", "See /ho" "me/somebody/notes.", "somebody's machine"),
    ("server/app/app.cc", "// TO" "DO: finish", "left open"),
]


def build_house(folder, extra=None):
    files = dict(SOUND)
    for path in list(files):
        if path.endswith(".cc") and path.startswith("server/"):
            files.setdefault(path[:-3] + ".h", "")
    files.update({"tests/fakes/ledger.h": "", "client/cli/options.h": ""})
    if extra:
        path, line = extra
        files[path] += line + "\n"
    for path, text in files.items():
        os.makedirs(os.path.join(folder, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
            file.write(text)


class WallsTest(unittest.TestCase):
    def test_this_repository_keeps_every_wall(self):
        self.assertEqual(walls.check(ROOT), [])

    def test_a_sound_house_has_no_violation(self):
        with tempfile.TemporaryDirectory() as folder:
            build_house(folder)
            self.assertEqual(walls.check(folder), [])

    def test_each_planted_violation_is_caught_where_it_stands(self):
        for path, line, complaint in CROSSINGS:
            with self.subTest(path=path, line=line), tempfile.TemporaryDirectory() as folder:
                build_house(folder, extra=(path, line))
                found = walls.check(folder)
                self.assertEqual(len(found), 1, found)
                self.assertIn(complaint, found[0])
                if "files" not in complaint:
                    number = SOUND[path].count("\n") + 1
                    self.assertTrue(found[0].startswith(f"{path}:{number}:"), found[0])

    def test_an_unknown_room_needs_its_arrows_drawn_first(self):
        with tempfile.TemporaryDirectory() as folder:
            build_house(folder)
            os.makedirs(os.path.join(folder, "server/cellar"))
            with open(os.path.join(folder, "server/cellar/wine.h"), "w", encoding="utf-8") as file:
                file.write('#include "server/core/ports.h"\n')
            self.assertIn("no arrows", walls.check(folder)[0])

    def test_an_unknown_floor_of_core_needs_its_arrows_drawn_first(self):
        with tempfile.TemporaryDirectory() as folder:
            build_house(folder)
            os.makedirs(os.path.join(folder, "server/core/attic"))
            with open(os.path.join(folder, "server/core/attic/trunk.h"), "w", encoding="utf-8") as file:
                file.write('#include "server/core/ports.h"\n')
            self.assertIn("no arrows", walls.check(folder)[0])

    def test_there_are_enough_failpoints(self):
        with tempfile.TemporaryDirectory() as folder:
            build_house(folder)
            for path in ("server/web/admin.cc", walls.CRASH_CASES):
                with open(os.path.join(folder, path), "w", encoding="utf-8") as file:
                    file.writelines(line for line in SOUND[path].splitlines(True) if "web.a" not in line)
            self.assertIn("24 failpoints", "".join(walls.check(folder)))

    def test_beast_stays_in_a_few_sources(self):
        with tempfile.TemporaryDirectory() as folder:
            build_house(folder)
            for number in range(walls.BEAST_SOURCES_AT_MOST):
                with open(os.path.join(folder, f"server/web/s{number}.cc"), "w",
                          encoding="utf-8") as file:
                    file.write("#include <boost/beast/core.hpp>\n")
            self.assertIn("Beast is in", "".join(walls.check(folder)))


if __name__ == "__main__":
    unittest.main()
