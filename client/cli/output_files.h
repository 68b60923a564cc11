// The files in which generate stores videos. Looks at the file system, changes nothing. Main thread.
#ifndef DREAMGATE_CLIENT_CLI_OUTPUT_FILES_H_
#define DREAMGATE_CLIENT_CLI_OUTPUT_FILES_H_

#include <cstddef>
#include <string>
#include <vector>

namespace dreamgate::client {

// Checks --output before a video is paid for. Returns what is wrong, for people; empty: nothing.
std::string CheckOutput(const std::string& output, bool overwrite);

// The file to write in place of `file` if it may be overwritten: the target of a symbolic link.
std::string FollowLinks(const std::string& file);

// The files for `count` (> 0) videos of a prediction: `output` itself, or <prediction id>.mp4 in it if it
// is a folder or empty. More than one get -1, -2, ... before the extension.
std::vector<std::string> OutputFiles(const std::string& output, const std::string& prediction_id,
                                     size_t count);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_OUTPUT_FILES_H_
