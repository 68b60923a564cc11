// A ledger's file looked at or changed with plain SQL, by a connection of its own: while no store has
// it open. For the ledger's tests.
#ifndef DREAMGATE_TESTS_LEDGER_SQL_TESTING_H_
#define DREAMGATE_TESTS_LEDGER_SQL_TESTING_H_

#include <sqlite3.h>

#include <string>

#include "gtest/gtest.h"

namespace dreamgate::ledger {

inline void ExecuteSql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

// The first column of the first row, "NULL" or "no row".
inline std::string QuerySql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  std::string answer = "no row";
  if (sqlite3_step(statement) == SQLITE_ROW) {
    const unsigned char* text = sqlite3_column_text(statement, 0);
    answer = text == nullptr ? "NULL" : reinterpret_cast<const char*>(text);
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return answer;
}

}  // namespace dreamgate::ledger

#endif  // DREAMGATE_TESTS_LEDGER_SQL_TESTING_H_
