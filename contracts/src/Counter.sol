// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title The smallest contract that keeps something.
contract Counter {
    uint256 public number;

    event Counted(address indexed who, uint256 number);

    function setNumber(uint256 newNumber) external {
        number = newNumber;
        emit Counted(msg.sender, newNumber);
    }

    function increment() external returns (uint256) {
        ++number;
        emit Counted(msg.sender, number);
        return number;
    }
}
