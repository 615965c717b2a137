# Installs BUILD_DIR into WORK_DIR, builds project/ against it as a stranger would, and runs it.
# Variables: BUILD_DIR, WORK_DIR, PROJECT_DIR, CXX.

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/prefix)
# Moved, so that nothing can depend on where it was installed.
file(RENAME ${WORK_DIR}/prefix ${WORK_DIR}/elsewhere)
run(${CMAKE_COMMAND} -S ${PROJECT_DIR} -B ${WORK_DIR}/build -G Ninja -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${WORK_DIR}/elsewhere)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/draw ${WORK_DIR}/drawn.png)
run(${WORK_DIR}/elsewhere/bin/ditmoe --version)
if(NOT EXISTS ${WORK_DIR}/drawn.png)
  message(FATAL_ERROR "expected ${WORK_DIR}/drawn.png to exist")
endif()
