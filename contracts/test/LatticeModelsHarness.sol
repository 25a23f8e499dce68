// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {LatticeModels} from "../src/LatticeModels.sol";

/// @title Opens the library's internal functions to tests.
contract LatticeModelsHarness {
    function exec(bytes32 modelId, bytes calldata input) external view returns (bytes memory) {
        return LatticeModels.exec(modelId, input);
    }

    function load(bytes32 modelId) external view returns (uint64 gas_, uint64 inputBytes, uint64 outputBytes) {
        return LatticeModels.load(modelId);
    }

    function word(bytes calldata data, uint256 index) external pure returns (uint32) {
        return LatticeModels.word(data, index);
    }

    function argmaxF32(bytes calldata data) external pure returns (uint256) {
        return LatticeModels.argmaxF32(data);
    }
}
