// What was learned of a model is kept as it was given: bytes that the ledger does not read.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/ledger/store.h"
#include "tests/ledger/fault_vfs.h"
#include "tests/ledger/ledger_testing.h"

namespace dreamgate::ledger {
namespace {

class LearnedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    RegisterFaultVfs();
    store_ = OpenStore(path_, kFaultVfs);
  }
  void TearDown() override { SetFault(Fault::kNone); }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("ledger.db");
  std::unique_ptr<Store> store_;
};

TEST_F(LearnedTest, OfAModelThatNothingWasSavedOfNothingIsFound) {
  EXPECT_TRUE(absl::IsNotFound(store_->Run(core::LoadLearnedRequest{"model"}).status()));
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "bytes"}).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Run(core::LoadLearnedRequest{"Model"}).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Run(core::LoadLearnedRequest{""}).status()));
}

TEST_F(LearnedTest, AnyBytesComeBackAsTheyWereSaved) {
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every.push_back(static_cast<char>(byte));
  const std::string cases[] = {every, "", std::string(5000, '\0')};
  for (const std::string& bytes : cases) {
    ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", bytes}).ok());
    const auto loaded = store_->Run(core::LoadLearnedRequest{"model"});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(*loaded, bytes);
  }
}

TEST_F(LearnedTest, WhatIsSavedLaterTakesItsPlaceAndNoOtherModels) {
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"one", "old"}).ok());
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"two", "other"}).ok());
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"one", "new"}).ok());
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"one"}), "new");
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"two"}), "other");
}

TEST_F(LearnedTest, ItIsThereAfterAReopen) {
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "bytes"}).ok());
  store_.reset();
  store_ = OpenStore(path_);
  ASSERT_NE(store_, nullptr);
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"model"}), "bytes");
}

TEST_F(LearnedTest, ASaveThatTheDiskRefusesIsAnErrorAndWhatWasThereStays) {
  ASSERT_TRUE(store_->Run(core::SaveLearnedRequest{"model", "old"}).ok());
  SetFault(Fault::kDiskFull);
  const absl::Status full = store_->Run(core::SaveLearnedRequest{"model", "new"}).status();
  EXPECT_EQ(core::ReasonOf(full), core::Reason::kLedgerUnavailable) << full;
  SetFault(Fault::kNone);
  EXPECT_EQ(*store_->Run(core::LoadLearnedRequest{"model"}), "old");
}

}  // namespace
}  // namespace dreamgate::ledger
