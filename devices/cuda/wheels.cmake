# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers

# fetch_wheels(FOLDER SECONDS WHY REQUIREMENT...)
# Extracts wheels of the Python registry into FOLDER. A requirement is `name==version=hash`, the
# hash SHA-256. WHY becomes empty, or one line that says why nothing was fetched. No Python runs
# what is in them, so any will do; a registry that cannot be reached costs a few seconds.
function(fetch_wheels folder seconds why)
  find_package(Python3 COMPONENTS Interpreter QUIET)
  if(NOT Python3_FOUND)
    set(${why} "there is no Python" PARENT_SCOPE)
    return()
  endif()
  list(TRANSFORM ARGN REPLACE "^(.+==.+)=(.+)$" "\\1 --hash=sha256:\\2\n" OUTPUT_VARIABLE lines)
  list(JOIN lines "" lines)
  set(downloads ${folder}/downloads)
  file(MAKE_DIRECTORY ${downloads})
  file(WRITE ${downloads}/requirements.txt "${lines}")
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -m pip --disable-pip-version-check --retries 0 --timeout 5 download
      --quiet --no-deps --require-hashes --only-binary=:all: --python-version 311
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64
      --platform manylinux_2_17_x86_64 --platform manylinux2010_x86_64
      --dest ${downloads} --requirement ${downloads}/requirements.txt
    RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE said TIMEOUT ${seconds})
  if(status EQUAL 0)
    file(GLOB wheels ${downloads}/*.whl)
    foreach(wheel ${wheels})
      file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder})
    endforeach()
    set(said "")
  else()
    # The last line is the one that says it.
    string(REGEX REPLACE "^.*\n([^\n]+)\n*$" "\\1" said "${said}")
    string(STRIP "pip download: ${said}" said)
  endif()
  file(REMOVE_RECURSE ${downloads})
  set(${why} "${said}" PARENT_SCOPE)
endfunction()
