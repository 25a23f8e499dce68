// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {LatticeModels} from "./LatticeModels.sol";

/// @title A contract that asks a model.
/// @notice Serves any model with one f32 output, a score for each label: the answer is the place of the highest.
contract Classifier {
    /// Hash of the frozen graph that this contract asks.
    bytes32 public immutable modelId;
    /// Label of the latest `record`.
    uint256 public lastLabel;

    event Classified(address indexed who, uint256 label);

    constructor(bytes32 modelId_) {
        modelId = modelId_;
    }

    /// @notice The label of `input`, by the model.
    function classify(bytes calldata input) public view returns (uint256 label) {
        return LatticeModels.argmaxF32(LatticeModels.exec(modelId, input));
    }

    /// @notice Classifies and keeps the label, so that other contracts can act on it.
    function record(bytes calldata input) external returns (uint256 label) {
        label = classify(input);
        lastLabel = label;
        emit Classified(msg.sender, label);
    }
}
